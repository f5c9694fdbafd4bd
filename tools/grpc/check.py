#!/usr/bin/env python3
"""The programs of this folder against each other, without a gateway: FOLDER/venv/bin/python check.py, after install.sh FOLDER

Rule: each client meets each server, and what a test would read of the JSON and of the log is asserted here.
"""

import base64
import concurrent.futures
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import grpc

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = pathlib.Path(sys.prefix).parent
ECHO = "grpc.examples.echo.Echo"
PYTHON_SERVER = [sys.executable, HERE / "server.py"]
GO_SERVER = [FOLDER / "bin/echo", "server"]
PYTHON_CLIENT = [sys.executable, HERE / "client.py"]
GO_CLIENT = [FOLDER / "bin/echo", "client"]
# Partition 0, next offset 1, as the gateway says it, and a text before.
FIRST = b"\x0a\x01a" + bytes.fromhex("faff0f0401020002")


class Server:
    """A server in a process of its own, and its log."""

    def __init__(self, command, scratch, *options):
        self._log = pathlib.Path(scratch) / "log"
        self._log.unlink(missing_ok=True)
        command = [*command, "--port", "0", "--log", self._log, *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        word, port = self._process.stdout.readline().split()
        assert word == "listening"
        self.address = f"localhost:{port}"

    def events(self):
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        assert self._process.wait(10) == 0


def run(command, *arguments):
    done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, (command, arguments)
    return json.loads(done.stdout)


def expect(got, **wanted):
    for name, value in wanted.items():
        assert got.get(name) == value, f"{name} of {json.dumps(got)[:600]}, not {value!r}"


def until(holds):
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def check_client(client, server, served_by):
    """What both clients can do, with either server."""

    def call(*arguments):
        return run(client, server.address, *arguments)

    served = {"x-served-by": served_by}
    one = call("unary", "--text", "ünï", "--metadata", "x-correlation=c1", "--metadata", "b-bin=AAH/")
    expect(one, ok=1, failed=0, code="OK", answer="ünï")
    assert one["initial_metadata"].items() >= served.items()
    begin, message, end = server.events()
    expect(begin, event="begin", method="UnaryEcho", correlation="c1", message=None)
    assert begin["metadata"]["b-bin"].rstrip("=") == "AAH/", begin
    expect(message, event="message", message="ünï", call=begin["call"])
    expect(end, event="end", code="OK")
    expect(call("unary", "--text", "a", "--count", "500", "--concurrency", "50"), ok=500, failed=0)
    expect(call("unary", "--text", "z" * 20000, "--gzip"), ok=1, answer="z" * 20000)

    details = "no such thing, ünïcode"
    failure = {"code": "FAILED_PRECONDITION", "details": details}
    text = f"fail=FAILED_PRECONDITION;{details}"
    for command in (
        ("unary", "--text", text),
        ("server-stream", "--text", text),
        ("client-stream", "--say", "a", "--say", text),
        ("bidi", "--say", "a", "--say", text),
    ):
        failed = call(*command)
        expect(failed, ok=0, failed=1, **failure)
        expect(failed["errors"][0], **failure)
        assert failed["initial_metadata"].items() >= served.items(), failed
        assert failed["trailing_metadata"].items() >= {"x-trailer": "t"}.items()
    assert failed["answers"] == ["a"]
    expect(call("unary", "--text", "fail=14;", "--count", "3"), ok=0, failed=3)
    expect(call("unary", "--text", "fail=14;x"), code="UNAVAILABLE", details="x")
    expect(call("unary", "--text", "fail=NONE;x"), code="INVALID_ARGUMENT")

    slow = call("unary", "--text", "sleep=0.3;late")
    expect(slow, ok=1, answer="late")
    assert slow["seconds"] >= 0.3
    late = call("unary", "--text", "sleep=5;late", "--timeout", "0.3")
    # grpc-go's server resets the stream when the deadline is over, which may be before the client sees that itself.
    assert late["code"] in ("DEADLINE_EXCEEDED", "CANCELLED"), late
    until(lambda: server.events()[-1]["event"] == "cancelled")
    for command in ("unary", "server-stream", "client-stream", "bidi"):
        expect(call(command, "--text", "sleep=9;late", "--give-up", "0.5"), code="GAVE_UP")

    counted = call("server-stream", "--text", "sleep=0.1;a", "--count", "3")
    expect(counted, ok=1, answers=["a 0", "a 1", "a 2"])
    assert counted["seconds"] >= 0.3
    expect(call("server-stream", "--text", "a"), ok=1, answers=["a"])
    expect(call("server-stream", "--count", "0"), ok=1, answers=[])
    expect(call("server-stream", "--streams", "20", "--count", "20"), ok=20, failed=0)
    expect(call("client-stream", "--text", "a"), ok=1, answer="a 0,a 1,a 2")
    before = len(server.events())
    expect(call("client-stream", "--streams", "20", "--messages", "20"), ok=20, failed=0)
    messages = [line["call"] for line in server.events()[before:] if line["event"] == "message"]
    turns = sum(one != other for one, other in zip(messages, messages[1:]))
    # 19 would be one after the other. How far past that depends on when the server's tasks run.
    assert turns > 40, f"streams hardly interleave: {turns}"
    expect(call("bidi", "--text", "a", "--messages", "2"), ok=1, answers=["a 0", "a 1"])
    expect(call("bidi", "--streams", "20", "--messages", "20"), ok=20, failed=0)
    expect(run(client, "localhost:1", "unary"), ok=0, code="UNAVAILABLE")


def check_python_client(server):
    """What only client.py can do."""

    def call(*arguments):
        return run(PYTHON_CLIENT, server.address, *arguments)

    ends = call("unknown")
    expect(ends["method"], code="UNIMPLEMENTED")
    expect(ends["service"], code="UNIMPLEMENTED")
    late = call("deadline", "--timeout", "0.5")
    assert late["code"] in ("DEADLINE_EXCEEDED", "CANCELLED"), late
    assert 0.4 < late["elapsed"] < 2, late
    expect(call("health", "--service", ECHO), code="OK", status="SERVING")
    expect(call("health", "--service", "none"), code="NOT_FOUND")
    expect(call("unary", "--count", "50", "--concurrency", "9", "--channels", "3"), ok=50)
    expect(call("client-stream", "--streams", "150", "--channels", "3"), ok=150, failed=0)
    big = call("unary", "--size", "3000000")
    assert len(big["answer"]) == 3000000, big["errors"]
    expect(call("abandon", "--messages", "4", "--metadata", "x-correlation=gone"), sent=4)
    gone = lambda: [line for line in server.events() if line["correlation"] == "gone"]
    until(lambda: gone()[-1]["event"] == "cancelled")
    assert [line["event"] for line in gone()] == ["begin", *4 * ["message"], "cancelled"]


def check_fanout():
    """Against a stream as the gateway makes it, which does not end."""
    seen = []

    def answer(request, context):
        seen.append((request, dict(context.invocation_metadata()).get("last-message-id")))
        if request:
            context.abort(grpc.StatusCode.ABORTED, "not empty")
        yield FIRST
        yield b"\x12\x01?"
        yield b"\x0a\x01b"
        while context.is_active():
            time.sleep(0.05)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    handler = grpc.unary_stream_rpc_method_handler(answer)
    method = {"FanoutServerStream": handler}
    service = grpc.method_handlers_generic_handler("example.FanoutService", method)
    server.add_generic_rpc_handlers((service,))
    address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    got = run(PYTHON_CLIENT, address, "fanout", "--take", "3", "--last-message-id", "AQIAAg==")
    expect(got, complete=True, code=None)
    assert [message["message"] for message in got["messages"]] == ["a", None, "b"]
    assert [message["progress"] for message in got["messages"]] == ["AQIAAg==", None, None]
    got = run(PYTHON_CLIENT, address, "fanout", "--take", "4", "--timeout", "0.5")
    expect(got, complete=False, code="DEADLINE_EXCEEDED")
    assert len(got["messages"]) == 3
    assert seen == [(b"", "AQIAAg=="), (b"", None)], seen
    server.stop(None)


def check_web():
    """Against answers as the protocol has them, since no server here speaks it."""
    seen = []
    message = b"\0\0\0\0\7\x0a\5hello"
    trailers = b"grpc-status: 0\r\nGrpc-Message: fine\r\n"
    trailers = b"\x80" + len(trailers).to_bytes(4, "big") + trailers

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_OPTIONS(self):
            seen.append((self.command, self.path, dict(self.headers), b""))
            self.send_response(204)
            self.send_header("Access-Control-Allow-Origin", self.headers["Origin"])
            self.end_headers()

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.command, self.path, dict(self.headers), body))
            is_text = "text" in self.headers["Content-Type"]
            self.send_response(200)
            self.send_header("Content-Type", self.headers["Content-Type"])
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            several = self.path.endswith("ServerStreamingEcho")
            parts = [message] * (3 if several else 1) + [trailers]
            for part in parts:
                part = base64.b64encode(part) if is_text else part
                # Chunks need not end where frames or groups of four do.
                for piece in (part[:3], part[3:]):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
            # Cut off before the end that was announced.
            self.wfile.write(b"" if "Cut" in self.path else b"0\r\n\r\n")
            self.close_connection = "Cut" in self.path

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web = [sys.executable, HERE / "web.py", f"http://localhost:{server.server_port}"]
    for mode in ("binary", "text"):
        fine = {"grpc-status": "0", "grpc-message": "fine"}
        got = run(web, f"{ECHO}/UnaryEcho", "--mode", mode, "--origin", "http://a.test")
        expect(got, status=200, texts=["hello"], trailers=fine, error=None)
        method, path, headers, body = seen[-1]
        assert (method, path) == ("POST", f"/{ECHO}/UnaryEcho")
        assert headers["Origin"] == "http://a.test"
        assert (base64.b64decode(body) if mode == "text" else body) == message
        streaming = f"{ECHO}/ServerStreamingEcho"
        got = run(web, streaming, "--mode", mode)
        expect(got, messages=3 * [base64.b64encode(message[5:]).decode()], trailers=fine)
        expect(run(web, streaming, "--mode", mode, "--take", "2"), texts=2 * ["hello"], trailers=None)
    expect(run(web, f"{ECHO}/Cut"), texts=["hello"], trailers=fine)
    got = run(web, "--preflight", "--origin", "http://a.test")
    expect(got, status=204, body="")
    assert seen[-1][2]["Access-Control-Request-Method"] == "POST"
    long = "x" * 300
    run(web, "--text", long)
    assert seen[-1][3][5:] == b"\x0a\xac\x02" + long.encode()
    server.shutdown()


def check_tls(scratch):
    key, certificate = f"{scratch}/key.pem", f"{scratch}/certificate.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=echo.test"
    made = ["openssl", "req", *options.split(), "-addext", "subjectAltName=DNS:echo.test"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with Server(PYTHON_SERVER, scratch, "--certificate", certificate, "--key", key) as server:
        for client in (PYTHON_CLIENT, GO_CLIENT):
            trusted = (server.address, "unary", "--ca", certificate)
            expect(run(client, *trusted, "--authority", "echo.test"), ok=1)
            expect(run(client, *trusted), code="UNAVAILABLE")


def check_grpcurl(server):
    command = [FOLDER / "bin/grpcurl", "-plaintext", "-import-path", HERE / "protos"]
    command += ["-proto", "echo.proto", "-d", '{"message": "curl"}', server.address]
    expect(run(command, f"{ECHO}/UnaryEcho"), message="curl")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        for served_by, command in (("python", PYTHON_SERVER), ("go", GO_SERVER)):
            for options in ((), ("--gzip",)):
                for client in (PYTHON_CLIENT, GO_CLIENT):
                    with Server(command, scratch, *options) as server:
                        check_client(client, server, served_by)
                print(f"both clients, {served_by} server", *options)
            with Server(command, scratch) as server:
                check_python_client(server)
                check_grpcurl(server)
        check_fanout()
        check_web()
        check_tls(scratch)
        misused = subprocess.run([*PYTHON_CLIENT, "x", "none"], stderr=subprocess.DEVNULL)
        assert misused.returncode == 1
    print("fanout, grpc-web, TLS, grpcurl")


if __name__ == "__main__":
    main()
