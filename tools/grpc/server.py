#!/usr/bin/env python3
"""The service grpc.examples.echo.Echo on grpcio, which does what the text of a message says. README.md lists the texts.

Rule: what happened to a call is in the log, one JSON line each and flushed, before the answer leaves.
"""

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import pathlib
import signal
import time

import echo_pb2
import echo_pb2_grpc
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "grpc.examples.echo.Echo"
SERVED_BY = (("x-served-by", "python"),)
TRAILER = (("x-trailer", "t"),)
# The metadata by which a line of the log can be told to belong to a call of a test: the first of them that is there.
CORRELATION = ("x-correlation", "idempotency-key")

# How long after the end of a client's stream it may turn out that it was a reset.
RESET_AFTER_END_SECONDS = 0.05


class Failure(Exception):
    """The status that a text asked for."""

    def __init__(self, name, details):
        super().__init__(name, details)
        by_number = {str(code.value[0]): code for code in grpc.StatusCode}
        self.code = by_number.get(name) or grpc.StatusCode.__members__.get(name)
        self.details = details
        if self.code in (None, grpc.StatusCode.OK):
            self.code, self.details = grpc.StatusCode.INVALID_ARGUMENT, f"{name} is no failure"


async def obey(text):
    """Sleeps and fails as `text` says. Returns what is left of it."""
    while True:
        if text.startswith("sleep="):
            seconds, _, text = text.removeprefix("sleep=").partition(";")
            await asyncio.sleep(float(seconds))
        elif text.startswith("fail="):
            raise Failure(*text.removeprefix("fail=").partition(";")[::2])
        else:
            return text


def plain(metadata):
    """Metadata as JSON can say it: bytes as base64, values of one name joined as in HTTP."""
    joined = {}
    for name, value in metadata or ():
        value = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


class Log:
    """Appends one JSON line for each event, or nothing without a file."""

    def __init__(self, path):
        self._file = open(path, "a", encoding="utf-8") if path else None

    def write(self, line):
        if self._file:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


class Call:
    def __init__(self, log, number, method, context):
        self._log, self._number, self._method = log, number, method
        self._metadata = plain(context.invocation_metadata())
        found = (self._metadata[name] for name in CORRELATION if name in self._metadata)
        self._correlation = next(found, None)

    def event(self, event, message=None, code=None):
        self._log.write(
            {
                "event": event,
                "call": self._number,
                "method": self._method,
                "correlation": self._correlation,
                "metadata": self._metadata,
                "message": message,
                "code": code,
                "time": time.time(),
            }
        )


class Echo(echo_pb2_grpc.EchoServicer):
    def __init__(self, log):
        self._log = log
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def _call(self, method, context):
        call = Call(self._log, next(self._numbers), method, context)
        call.event("begin")
        try:
            await context.send_initial_metadata(SERVED_BY)
            yield call
            call.event("end", code="OK")
        except Failure as failure:
            call.event("end", message=failure.details, code=failure.code.name)
            await context.abort(failure.code, failure.details, TRAILER)
        except asyncio.CancelledError:
            call.event("cancelled")
            raise
        except Exception as fault:
            call.event("end", message=repr(fault), code="UNKNOWN")
            raise

    @staticmethod
    async def _messages(call, context):
        """The texts of a client's stream. One that was cut off does not look like one that has ended."""
        while (request := await context.read()) is not grpc.aio.EOF:
            call.event("message", request.message)
            yield request.message
        # grpcio tells of a reset by an end of the stream, and only then cancels this task, here.
        await asyncio.sleep(RESET_AFTER_END_SECONDS)

    async def UnaryEcho(self, request, context):
        async with self._call("UnaryEcho", context) as call:
            call.event("message", request.message)
            answer = echo_pb2.EchoResponse(message=await obey(request.message))
        return answer

    async def ServerStreamingEcho(self, request, context):
        async with self._call("ServerStreamingEcho", context) as call:
            call.event("message", request.message)
            text = request.message
            # A `sleep=` before `count=` is slept once, one after it before each answer.
            before, counted, after = text.partition("count=")
            if counted and (not before or before.startswith("sleep=") and before.endswith(";")):
                await obey(before)
                count, _, text = after.partition(";")
                for number in range(int(count)):
                    answer = f"{await obey(text)} {number}"
                    await context.write(echo_pb2.EchoResponse(message=answer))
            else:
                await context.write(echo_pb2.EchoResponse(message=await obey(text)))

    async def ClientStreamingEcho(self, _, context):
        async with self._call("ClientStreamingEcho", context) as call:
            texts = [await obey(text) async for text in self._messages(call, context)]
            answer = echo_pb2.EchoResponse(message=",".join(texts))
        return answer

    async def BidirectionalStreamingEcho(self, _, context):
        async with self._call("BidirectionalStreamingEcho", context) as call:
            async for text in self._messages(call, context):
                await context.write(echo_pb2.EchoResponse(message=await obey(text)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="what to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and says which (0)")
    parser.add_argument("--log", help="a file that gets one JSON line for each event of a call")
    parser.add_argument("--gzip", action="store_true", help="compress answers")
    parser.add_argument("--certificate", help="PEM file, for TLS")
    parser.add_argument("--key", help="PEM file, for TLS")
    given = parser.parse_args()
    if bool(given.certificate) != bool(given.key):
        parser.error("--certificate and --key go together")
    return given


async def serve(given):
    server = grpc.aio.server(
        compression=grpc.Compression.Gzip if given.gzip else None,
        # Without this a second server could share the port of the first.
        options=[("grpc.so_reuseport", 0)],
    )
    echo_pb2_grpc.add_EchoServicer_to_server(Echo(Log(given.log)), server)
    healthy = health.aio.HealthServicer()
    for service in ("", SERVICE):
        await healthy.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    address = f"{given.host}:{given.port}"
    if given.certificate:
        pair = (pathlib.Path(given.key).read_bytes(), pathlib.Path(given.certificate).read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(address)
    await server.start()
    print(f"listening {port}", flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
