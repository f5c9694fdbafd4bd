// Command echo is grpc-go's side of the tests: a server of grpc.examples.echo.Echo and a client of it.
// It does what server.py and client.py do, as far as README.md says so.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: echo server [--host H] [--port P] [--log FILE] [--gzip]
       echo client ADDRESS unary|client-stream|server-stream|bidi [OPTION...]`

func main() {
	if len(os.Args) < 2 {
		misuse(usage)
	}
	switch os.Args[1] {
	case "server":
		serve(os.Args[2:])
	case "client":
		call(os.Args[2:])
	default:
		misuse(usage)
	}
}

// misuse ends the program. Nothing that a call comes to does.
func misuse(why any) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
