package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "sluice/grpcecho/echopb"
)

// The metadata by which a line of the log can be told to belong to a call of a test: the first of them that is there.
var correlations = []string{"x-correlation", "idempotency-key"}

func serve(arguments []string) {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	host := flags.String("host", "127.0.0.1", "what to listen on")
	port := flags.Int("port", 0, "0 takes a free one and says which")
	path := flags.String("log", "", "a file that gets one JSON line for each event of a call")
	compress := flags.Bool("gzip", false, "compress answers")
	if flags.Parse(arguments) != nil {
		os.Exit(1)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, strconv.Itoa(*port)))
	if err != nil {
		misuse(err)
	}
	service := &echo{compress: *compress}
	if *path != "" {
		if service.log, err = os.OpenFile(*path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			misuse(err)
		}
	}
	server := grpc.NewServer()
	pb.RegisterEchoServer(server, service)
	healthy := health.NewServer()
	healthy.SetServingStatus(pb.Echo_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, healthy)
	fmt.Printf("listening %d\n", listener.Addr().(*net.TCPAddr).Port)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		misuse(err)
	}
}

type echo struct {
	pb.UnimplementedEchoServer
	compress bool
	calls    atomic.Int64
	lock     sync.Mutex
	log      *os.File
}

type line struct {
	Event       string            `json:"event"`
	Call        int64             `json:"call"`
	Method      string            `json:"method"`
	Correlation *string           `json:"correlation"`
	Metadata    map[string]string `json:"metadata"`
	Message     *string           `json:"message"`
	Code        *string           `json:"code"`
	Time        float64           `json:"time"`
}

// logged is one call as the log knows it.
type logged struct {
	service *echo
	line    line
}

func (l *logged) event(event string, message, code *string) {
	if l.service.log == nil {
		return
	}
	line := l.line
	line.Event, line.Message, line.Code = event, message, code
	line.Time = float64(time.Now().UnixMicro()) / 1e6
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	l.service.lock.Lock()
	defer l.service.lock.Unlock()
	l.service.log.Write(append(text, '\n'))
}

func (l *logged) message(text string) { l.event("message", &text, nil) }

// run begins the call, lets body answer it, and logs how that ended before the client is told.
func (s *echo) run(ctx context.Context, method string, body func(*logged) error) error {
	given, _ := metadata.FromIncomingContext(ctx)
	call := &logged{s, line{Call: s.calls.Add(1) - 1, Method: method, Metadata: plain(given.Copy())}}
	for _, name := range correlations {
		if value, found := call.line.Metadata[name]; found {
			call.line.Correlation = &value
			break
		}
	}
	call.event("begin", nil, nil)
	if s.compress {
		grpc.SetSendCompressor(ctx, gzip.Name)
	}
	err := grpc.SendHeader(ctx, metadata.Pairs("x-served-by", "go"))
	if err == nil {
		err = body(call)
	}
	if ctx.Err() != nil {
		call.event("cancelled", nil, nil)
		return status.FromContextError(ctx.Err()).Err()
	}
	end := status.Convert(err)
	name, details := nameOf(end.Code()), end.Message()
	if end.Code() == codes.OK {
		call.event("end", nil, &name)
		return nil
	}
	call.event("end", &details, &name)
	grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "t"))
	return end.Err()
}

func (s *echo) UnaryEcho(ctx context.Context, request *pb.EchoRequest) (*pb.EchoResponse, error) {
	answer := &pb.EchoResponse{}
	err := s.run(ctx, "UnaryEcho", func(call *logged) (err error) {
		call.message(request.Message)
		answer.Message, err = obey(ctx, request.Message)
		return err
	})
	return answer, err
}

func (s *echo) ServerStreamingEcho(request *pb.EchoRequest, stream grpc.ServerStreamingServer[pb.EchoResponse]) error {
	ctx := stream.Context()
	return s.run(ctx, "ServerStreamingEcho", func(call *logged) error {
		call.message(request.Message)
		// A `sleep=` before `count=` is slept once, one after it before each answer.
		before, after, counted := strings.Cut(request.Message, "count=")
		if !counted || before != "" && !(strings.HasPrefix(before, "sleep=") && strings.HasSuffix(before, ";")) {
			text, err := obey(ctx, request.Message)
			if err != nil {
				return err
			}
			return stream.Send(&pb.EchoResponse{Message: text})
		}
		if _, err := obey(ctx, before); err != nil {
			return err
		}
		number, text, _ := strings.Cut(after, ";")
		count, err := strconv.Atoi(number)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		for at := range count {
			left, err := obey(ctx, text)
			if err != nil {
				return err
			}
			if err := stream.Send(&pb.EchoResponse{Message: fmt.Sprintf("%s %d", left, at)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *echo) ClientStreamingEcho(stream grpc.ClientStreamingServer[pb.EchoRequest, pb.EchoResponse]) error {
	return s.run(stream.Context(), "ClientStreamingEcho", func(call *logged) error {
		var texts []string
		err := eachMessage(call, stream, func(text string) error {
			texts = append(texts, text)
			return nil
		})
		if err != nil {
			return err
		}
		return stream.SendAndClose(&pb.EchoResponse{Message: strings.Join(texts, ",")})
	})
}

func (s *echo) BidirectionalStreamingEcho(stream grpc.BidiStreamingServer[pb.EchoRequest, pb.EchoResponse]) error {
	return s.run(stream.Context(), "BidirectionalStreamingEcho", func(call *logged) error {
		return eachMessage(call, stream, func(text string) error {
			return stream.Send(&pb.EchoResponse{Message: text})
		})
	})
}

type requests interface {
	Context() context.Context
	Recv() (*pb.EchoRequest, error)
}

// eachMessage takes what the client sends until its end, and gives what is left of each text to take.
func eachMessage(call *logged, stream requests, take func(string) error) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		call.message(request.Message)
		text, err := obey(stream.Context(), request.Message)
		if err != nil {
			return err
		}
		if err := take(text); err != nil {
			return err
		}
	}
}
