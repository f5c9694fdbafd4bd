package main

// What the text of a message makes the server do, and what is left of it then.

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// obey sleeps and fails as text says. It returns what is left of it.
func obey(ctx context.Context, text string) (string, error) {
	for {
		if rest, found := strings.CutPrefix(text, "sleep="); found {
			seconds, after, _ := strings.Cut(rest, ";")
			number, err := strconv.ParseFloat(seconds, 64)
			if err != nil {
				return "", status.Error(codes.InvalidArgument, err.Error())
			}
			select {
			case <-time.After(time.Duration(number * float64(time.Second))):
			case <-ctx.Done():
				return "", ctx.Err()
			}
			text = after
		} else if rest, found := strings.CutPrefix(text, "fail="); found {
			name, details, _ := strings.Cut(rest, ";")
			code, known := codeOf(name)
			if !known || code == codes.OK {
				return "", status.Error(codes.InvalidArgument, name+" is no failure")
			}
			return "", status.Error(code, details)
		} else {
			return text, nil
		}
	}
}

// echoed is what the server says to text, which may tell it to sleep first.
func echoed(text string) string {
	for strings.HasPrefix(text, "sleep=") {
		_, text, _ = strings.Cut(text, ";")
	}
	return text
}

// codeOf reads a code by its number or by its name as the specification writes it.
func codeOf(name string) (codes.Code, bool) {
	if number, err := strconv.ParseUint(name, 10, 32); err == nil {
		return codes.Code(number), number <= uint64(codes.Unauthenticated)
	}
	var code codes.Code
	err := code.UnmarshalJSON([]byte(strconv.Quote(name)))
	return code, err == nil
}

// nameOf is a code as the specification writes it, which codes.Code does not.
func nameOf(code codes.Code) string {
	var name strings.Builder
	if code == codes.OK {
		return "OK"
	}
	for at, letter := range code.String() {
		if at > 0 && letter >= 'A' && letter <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	upper := strings.ToUpper(name.String())
	if upper == "CANCELED" {
		return "CANCELLED"
	}
	return upper
}

// plain is metadata as JSON can say it: bytes as base64, values of one name joined as in HTTP.
func plain(from metadata.MD) map[string]string {
	joined := make(map[string]string)
	for name, values := range from {
		if strings.HasSuffix(name, "-bin") {
			for at, value := range values {
				values[at] = base64.StdEncoding.EncodeToString([]byte(value))
			}
		}
		joined[name] = strings.Join(values, ", ")
	}
	return joined
}
