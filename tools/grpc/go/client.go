package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "sluice/grpcecho/echopb"
)

// Of the failures only so many are printed.
const errorsMax = 5

type options struct {
	text                                  string
	count, concurrency, streams, messages int
	timeout, giveUp                       float64
	gzip                                  bool
	ca, authority                         string
	metadata, say                         list
}

type list []string

func (l *list) String() string         { return strings.Join(*l, " ") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

func call(arguments []string) {
	if len(arguments) < 2 {
		misuse(usage)
	}
	var given options
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.StringVar(&given.text, "text", "hello", "what to say")
	flags.IntVar(&given.count, "count", -1, "calls; of server-stream: answers to ask for")
	flags.IntVar(&given.concurrency, "concurrency", 1, "calls at a time")
	flags.IntVar(&given.streams, "streams", 1, "streams at once")
	flags.IntVar(&given.messages, "messages", 3, "messages of each stream")
	flags.Var(&given.say, "say", "one message of a stream, as it is")
	flags.Var(&given.metadata, "metadata", "NAME=VALUE")
	flags.Float64Var(&given.timeout, "timeout", 0, "seconds: a deadline, told to the other side")
	flags.Float64Var(&given.giveUp, "give-up", 60, "seconds until this client ends by itself")
	flags.BoolVar(&given.gzip, "gzip", false, "compress messages")
	flags.StringVar(&given.ca, "ca", "", "PEM file that signs for the server: TLS")
	flags.StringVar(&given.authority, "authority", "", "the name asked for, instead of that of the address")
	if flags.Parse(arguments[2:]) != nil {
		os.Exit(1)
	}
	commands := map[string]func(*client) *tally{
		"unary":         (*client).unary,
		"client-stream": (*client).clientStream,
		"server-stream": (*client).serverStream,
		"bidi":          (*client).bidi,
	}
	command, known := commands[arguments[1]]
	if !known || flags.NArg() > 0 {
		misuse(usage)
	}
	connected, err := connect(arguments[0], given)
	if err != nil {
		misuse(err)
	}
	done := make(chan any, 1)
	go func() { done <- command(connected).result() }()
	var result any
	select {
	case result = <-done:
	case <-time.After(time.Duration(given.giveUp * float64(time.Second))):
		result = end{Code: "GAVE_UP", Details: fmt.Sprintf("nothing came of it in %v s", given.giveUp)}
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		misuse(err)
	}
}

type client struct {
	options
	stub     pb.EchoClient
	outgoing metadata.MD
}

func connect(address string, given options) (*client, error) {
	outgoing := metadata.MD{}
	for _, pair := range given.metadata {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("%s is not name=value", pair)
		}
		if strings.HasSuffix(name, "-bin") {
			bytes, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return nil, err
			}
			value = string(bytes)
		}
		outgoing.Append(name, value)
	}
	dial := []grpc.DialOption{grpc.WithNoProxy()}
	security := insecure.NewCredentials()
	if given.ca != "" {
		pem, err := os.ReadFile(given.ca)
		if err != nil {
			return nil, err
		}
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", given.ca)
		}
		security = credentials.NewTLS(&tls.Config{RootCAs: trusted})
	}
	dial = append(dial, grpc.WithTransportCredentials(security))
	if given.authority != "" {
		dial = append(dial, grpc.WithAuthority(given.authority))
	}
	if given.gzip {
		dial = append(dial, grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	}
	connection, err := grpc.NewClient(address, dial...)
	if err != nil {
		return nil, err
	}
	return &client{given, pb.NewEchoClient(connection), outgoing}, nil
}

func (c *client) context() (context.Context, context.CancelFunc) {
	ctx := metadata.NewOutgoingContext(context.Background(), c.outgoing)
	if c.timeout > 0 {
		return context.WithTimeout(ctx, time.Duration(c.timeout*float64(time.Second)))
	}
	return context.WithCancel(ctx)
}

// one is the text of one of several calls.
func (c *client) one(number, of int) string {
	if of == 1 {
		return c.text
	}
	return fmt.Sprintf("%s %d", c.text, number)
}

// several is what one of several streams says.
func (c *client) several(stream int) []string {
	if len(c.say) > 0 {
		return c.say
	}
	var texts []string
	for message := range c.messages {
		texts = append(texts, fmt.Sprintf("%s %d", c.one(stream, c.streams), message))
	}
	return texts
}

func (c *client) unary() *tally {
	count := max(c.count, 1)
	tally := newTally(count)
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range max(c.concurrency, 1) {
		workers.Go(func() {
			for number := range numbers {
				ctx, cancel := c.context()
				text := c.one(number, count)
				var header, trailer metadata.MD
				answer, err := c.stub.UnaryEcho(ctx, &pb.EchoRequest{Message: text}, grpc.Header(&header), grpc.Trailer(&trailer))
				tally.add(ended(err, header, trailer), []string{echoed(text)}, []string{answer.GetMessage()}, true)
				cancel()
			}
		})
	}
	for number := range count {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	return tally
}

func (c *client) clientStream() *tally {
	tally := newTally(c.streams)
	calls := make([]grpc.ClientStreamingClient[pb.EchoRequest, pb.EchoResponse], c.streams)
	texts := make([][]string, c.streams)
	for stream := range c.streams {
		ctx, cancel := c.context()
		defer cancel()
		call, err := c.stub.ClientStreamingEcho(ctx)
		if err != nil {
			tally.add(ended(err, nil, nil), nil, nil, true)
			continue
		}
		calls[stream], texts[stream] = call, c.several(stream)
	}
	// Round robin: no stream is more than a message ahead of another. How one that fails has ended is told by its answer.
	for message := range len(c.several(0)) {
		for stream, call := range calls {
			if call != nil {
				_ = call.Send(&pb.EchoRequest{Message: texts[stream][message]})
			}
		}
		// What is queued at once is written stream by stream: without this the turns are over before the first write.
		time.Sleep(time.Millisecond)
	}
	// All are closed before the first is waited for.
	for _, call := range calls {
		if call != nil {
			_ = call.CloseSend()
		}
	}
	for stream, call := range calls {
		if call == nil {
			continue
		}
		answer, err := call.CloseAndRecv()
		header, _ := call.Header()
		wanted := make([]string, len(texts[stream]))
		for at, text := range texts[stream] {
			wanted[at] = echoed(text)
		}
		tally.add(ended(err, header, call.Trailer()), []string{strings.Join(wanted, ",")}, []string{answer.GetMessage()}, true)
	}
	return tally
}

func (c *client) serverStream() *tally {
	tally := newTally(c.streams)
	c.eachStream(func(stream int, ctx context.Context) {
		text := c.one(stream, c.streams)
		wanted := []string{echoed(text)}
		if c.count >= 0 {
			wanted = nil
			for number := range c.count {
				wanted = append(wanted, fmt.Sprintf("%s %d", echoed(text), number))
			}
			text = fmt.Sprintf("count=%d;%s", c.count, text)
		}
		call, err := c.stub.ServerStreamingEcho(ctx, &pb.EchoRequest{Message: text})
		if err != nil {
			tally.add(ended(err, nil, nil), nil, nil, false)
			return
		}
		got, err := rest(call)
		header, _ := call.Header()
		tally.add(ended(err, header, call.Trailer()), wanted, got, false)
	})
	return tally
}

func (c *client) bidi() *tally {
	tally := newTally(c.streams)
	c.eachStream(func(stream int, ctx context.Context) {
		call, err := c.stub.BidirectionalStreamingEcho(ctx)
		if err != nil {
			tally.add(ended(err, nil, nil), nil, nil, false)
			return
		}
		var wanted, got []string
		for _, text := range c.several(stream) {
			wanted = append(wanted, echoed(text))
			_ = call.Send(&pb.EchoRequest{Message: text})
			var answer *pb.EchoResponse
			if answer, err = call.Recv(); err != nil {
				break
			}
			got = append(got, answer.Message)
		}
		if err == nil {
			_ = call.CloseSend()
			// One more than there are messages would be one too many.
			var more []string
			more, err = rest(call)
			got = append(got, more...)
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
		header, _ := call.Header()
		tally.add(ended(err, header, call.Trailer()), wanted, got, false)
	})
	return tally
}

func (c *client) eachStream(do func(int, context.Context)) {
	var streams sync.WaitGroup
	for stream := range c.streams {
		streams.Go(func() {
			ctx, cancel := c.context()
			defer cancel()
			do(stream, ctx)
		})
	}
	streams.Wait()
}

// rest takes all answers until the end, which is no error.
func rest(call interface {
	Recv() (*pb.EchoResponse, error)
}) ([]string, error) {
	var got []string
	for {
		answer, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, answer.Message)
	}
}

// end is how a call ended.
type end struct {
	Code             string            `json:"code"`
	Details          string            `json:"details"`
	InitialMetadata  map[string]string `json:"initial_metadata"`
	TrailingMetadata map[string]string `json:"trailing_metadata"`
}

func ended(err error, header, trailer metadata.MD) end {
	status := status.Convert(err)
	return end{nameOf(status.Code()), status.Message(), plain(header), plain(trailer)}
}

// tally is what several calls came to. Of a single call also its answers and metadata are told.
type tally struct {
	lock       sync.Mutex
	single     bool
	started    time.Time
	ok, failed int
	errors     []end
	last       end
	answer     *string
	answers    []string
}

func newTally(calls int) *tally {
	return &tally{single: calls == 1, started: time.Now(), errors: []end{}}
}

func (t *tally) add(end end, wanted, got []string, one bool) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.last, t.answer, t.answers = end, nil, nil
	if !one {
		t.answers = append([]string{}, got...)
	} else if end.Code == "OK" {
		t.answer = &got[0]
	}
	if end.Code == "OK" && strings.Join(wanted, "\x00") != strings.Join(got, "\x00") {
		end.Code, end.Details = "MISMATCH", fmt.Sprintf("wanted %.200q, got %.200q", wanted, got)
	}
	if end.Code == "OK" {
		t.ok++
		return
	}
	t.failed++
	if len(t.errors) < errorsMax {
		t.errors = append(t.errors, end)
	}
}

func (t *tally) result() any {
	result := map[string]any{
		"ok": t.ok, "failed": t.failed, "errors": t.errors, "seconds": time.Since(t.started).Seconds(),
	}
	if t.single {
		result["code"], result["details"] = t.last.Code, t.last.Details
		result["initial_metadata"], result["trailing_metadata"] = t.last.InitialMetadata, t.last.TrailingMetadata
		if t.answer != nil {
			result["answer"] = *t.answer
		} else if t.answers != nil {
			result["answers"] = t.answers
		}
	}
	return result
}
