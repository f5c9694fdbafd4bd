#!/usr/bin/env python3
"""Calls of grpcio to Echo and FanoutService, each run printed as one JSON object: client.py ADDRESS COMMAND [OPTION...]

Rule: whatever the calls come to is printed and exits 0, for a test to judge; only misuse exits otherwise.
"""

import argparse
import asyncio
import base64
import concurrent.futures
import json
import pathlib
import sys
import time

import echo_pb2
import echo_pb2_grpc
import grpc
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

FANOUT = "/example.FanoutService/FanoutServerStream"
# Of the failures only so many are printed.
ERRORS_MAX = 5
# The wire types of a protobuf field.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def plain(metadata):
    """Metadata as JSON can say it: bytes as base64, values of one name joined as in HTTP."""
    joined = {}
    for name, value in metadata or ():
        value = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def of_error(error):
    return {
        "code": error.code().name,
        "details": error.details(),
        "initial_metadata": plain(error.initial_metadata()),
        "trailing_metadata": plain(error.trailing_metadata()),
    }


async def of_call(call):
    """How a call ended, however it did."""
    return {
        "code": (await call.code()).name,
        "details": await call.details(),
        "initial_metadata": plain(await call.initial_metadata()),
        "trailing_metadata": plain(await call.trailing_metadata()),
    }


def mismatch(wanted, got):
    return {"code": "MISMATCH", "details": f"wanted {wanted!r:.200}, got {got!r:.200}"}


def echoed(text):
    """What the server says to `text`, which may tell it to sleep first."""
    while text.startswith("sleep="):
        text = text.partition(";")[2]
    return text


class Tally:
    """What several calls came to. Of a single call also its answers and metadata are told."""

    def __init__(self, calls):
        self._single = calls == 1
        self._started = time.monotonic()
        self._ok, self._failed = 0, 0
        self._errors = []
        self._last = {}

    def add(self, end, wanted, got, answers):
        """A call that ended like `end`; `answers` is what is printed of it."""
        error = end if end["code"] != "OK" else None if got == wanted else mismatch(wanted, got)
        self._ok += error is None
        self._failed += error is not None
        if error and len(self._errors) < ERRORS_MAX:
            self._errors.append(error)
        self._last = {**end, **answers}

    def result(self):
        return {
            "ok": self._ok,
            "failed": self._failed,
            "errors": self._errors,
            **(self._last if self._single else {}),
            "seconds": time.monotonic() - self._started,
        }


class Client:
    def __init__(self, given):
        self._given = given
        count = getattr(given, "channels", 1)
        self._channels = [self._channel(grpc.aio) for _ in range(count)]
        # For streams of answers: grpc.aio can lose the initial metadata of one that ends at once.
        self._blocking = [self._channel(grpc) for _ in range(count)]
        self._stubs = [echo_pb2_grpc.EchoStub(channel) for channel in self._channels]
        self._common = {"metadata": given.metadata, "timeout": given.timeout}

    def _channel(self, of):
        given = self._given
        options = [
            ("grpc.enable_http_proxy", 0),
            # A channel is a connection of its own.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if given.authority:
            options.append(("grpc.default_authority", given.authority))
        compression = grpc.Compression.Gzip if given.gzip else None
        if not given.ca:
            return of.insecure_channel(given.address, options, compression)
        if given.authority:
            name = given.authority.rpartition(":")[0] or given.authority
            options.append(("grpc.ssl_target_name_override", name))
        trusted = grpc.ssl_channel_credentials(pathlib.Path(given.ca).read_bytes())
        return of.secure_channel(given.address, trusted, options, compression)

    def _stub(self, number):
        return self._stubs[number % len(self._stubs)]

    def _text(self, number, of):
        """The text of one of several calls, long enough."""
        text = self._given.text if of == 1 else f"{self._given.text} {number}"
        return text + "x" * (getattr(self._given, "size", 0) - len(text.encode()))

    def _texts(self, stream):
        """What one of several streams says."""
        text = self._text(stream, self._given.streams)
        return self._given.say or [f"{text} {number}" for number in range(self._given.messages)]

    async def close(self):
        for channel in self._channels:
            await channel.close(None)
        for channel in self._blocking:
            channel.close()

    async def unary(self):
        given = self._given
        tally = Tally(given.count)
        numbers = iter(range(given.count))

        async def worker():
            for number in numbers:
                text = self._text(number, given.count)
                request = echo_pb2.EchoRequest(message=text)
                call = self._stub(number).UnaryEcho(request, **self._common)
                try:
                    answer = (await call).message
                except grpc.aio.AioRpcError:
                    answer = None
                answers = {} if answer is None else {"answer": answer}
                tally.add(await of_call(call), echoed(text), answer, answers)

        await asyncio.gather(*(worker() for _ in range(given.concurrency)))
        return tally.result()

    async def client_stream(self):
        given = self._given
        tally = Tally(given.streams)
        calls = [
            self._stub(stream).ClientStreamingEcho(**self._common)
            for stream in range(given.streams)
        ]
        texts = [self._texts(stream) for stream in range(given.streams)]
        # Round robin: no stream is more than a message ahead of another.
        for turn in zip(*texts):
            for call, text in zip(calls, turn):
                await quietly(call.write(echo_pb2.EchoRequest(message=text)))
        for call in calls:
            await quietly(call.done_writing())
        for call, said in zip(calls, texts):
            try:
                answer = (await call).message
            except grpc.aio.AioRpcError:
                answer = None
            answers = {} if answer is None else {"answer": answer}
            tally.add(await of_call(call), ",".join(map(echoed, said)), answer, answers)
        return tally.result()

    async def server_stream(self):
        given = self._given
        tally = Tally(given.streams)
        started = time.monotonic()

        def stream(number):
            text = self._text(number, given.streams)
            wanted = [echoed(text)]
            if given.count is not None:
                wanted = [f"{echoed(text)} {each}" for each in range(given.count)]
                text = f"count={given.count};{text}"
            request = echo_pb2.EchoRequest(message=text)
            stub = echo_pb2_grpc.EchoStub(self._blocking[number % len(self._blocking)])
            call = stub.ServerStreamingEcho(request, **self._common)
            got, times = [], []
            try:
                for answer in call:
                    got.append(answer.message)
                    times.append(time.monotonic() - started)
            except grpc.RpcError:
                pass
            return of_error(call), wanted, got, {"answers": got, "times": times}

        for ended in await in_threads(stream, given.streams):
            tally.add(*ended)
        return tally.result()

    async def bidi(self):
        given = self._given
        tally = Tally(given.streams)

        async def stream(number):
            call = self._stub(number).BidirectionalStreamingEcho(**self._common)
            texts, got = self._texts(number), []
            try:
                for text in texts:
                    await quietly(call.write(echo_pb2.EchoRequest(message=text)))
                    answer = await call.read()
                    if answer is grpc.aio.EOF:
                        break
                    got.append(answer.message)
                await quietly(call.done_writing())
                # One more than there are messages would be one too many.
                while (answer := await call.read()) is not grpc.aio.EOF:
                    got.append(answer.message)
            except grpc.aio.AioRpcError:
                pass
            wanted = [echoed(text) for text in texts]
            tally.add(await of_call(call), wanted, got, {"answers": got})

        await asyncio.gather(*(stream(number) for number in range(given.streams)))
        return tally.result()

    async def fanout(self):
        return (await in_threads(self._fanout, 1))[0]

    def _fanout(self, _):
        given = self._given
        started = time.monotonic()
        metadata = list(given.metadata)
        if given.last_message_id is not None:
            metadata.append(("last-message-id", given.last_message_id))
        method = self._blocking[0].unary_stream(
            FANOUT,
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=bytes,
        )
        call = method(empty_pb2.Empty(), metadata=metadata, timeout=given.timeout)
        messages = []
        try:
            while len(messages) < given.take:
                message = fanout_message(next(call), given.field)
                messages.append({**message, "time": time.monotonic() - started})
        except (StopIteration, grpc.RpcError):
            pass
        complete = len(messages) == given.take
        if complete:
            # The end is this client's own doing, so there is no code to tell.
            end = {"code": None, "initial_metadata": plain(call.initial_metadata())}
            call.cancel()
        else:
            end = of_error(call)
        return {
            "complete": complete,
            "messages": messages,
            **end,
            "seconds": time.monotonic() - started,
        }

    async def unknown(self):
        ends = {}
        paths = {
            "method": "/grpc.examples.echo.Echo/NoSuchMethod",
            "service": "/no.such.Service/UnaryEcho",
        }
        for what, path in paths.items():
            call = self._channels[0].unary_unary(path)(b"", **self._common)
            try:
                await call
            except grpc.aio.AioRpcError:
                pass
            ends[what] = await of_call(call)
        return ends

    async def deadline(self):
        started = time.monotonic()
        request = echo_pb2.EchoRequest(message=self._given.text)
        call = self._stubs[0].UnaryEcho(request, **self._common)
        try:
            answers = {"answer": (await call).message}
        except grpc.aio.AioRpcError:
            answers = {}
        elapsed = time.monotonic() - started
        return {**await of_call(call), **answers, "elapsed": elapsed}

    async def health(self):
        stub = health_pb2_grpc.HealthStub(self._channels[0])
        request = health_pb2.HealthCheckRequest(service=self._given.service)
        try:
            answer = await stub.Check(request, **self._common)
        except grpc.aio.AioRpcError as error:
            return of_error(error)
        serving = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return {"code": "OK", "status": serving}

    async def abandon(self):
        given = self._given
        started = time.monotonic()
        call = self._stubs[0].ClientStreamingEcho(**self._common)
        for message in range(given.messages):
            text = f"{given.text} {message}"
            await quietly(call.write(echo_pb2.EchoRequest(message=text)))
        # A reset makes the other side forget what it has not read yet.
        await asyncio.sleep(given.hold)
        call.cancel()
        return {
            "sent": given.messages,
            "code": (await call.code()).name,
            "details": await call.details(),
            "seconds": time.monotonic() - started,
        }


async def in_threads(work, count):
    """What `work` makes of each number below `count`, all at once."""
    # Not waited for: when this client gives up, it is the end of the channels that ends them.
    pool = concurrent.futures.ThreadPoolExecutor(max(count, 1))
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, work, n) for n in range(count)))


async def quietly(writing):
    """A write to a call that may be over already: how it ended is told by the call."""
    try:
        await writing
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass


def fanout_message(encoded, progress_field):
    """The text of a FanoutMessage and, as base64url, the field that says where to go on (null without one)."""
    text, progress = None, None
    for number, value in fields(encoded):
        if number == 1:
            text = value.decode()
        elif number == progress_field:
            progress = base64.urlsafe_b64encode(value).decode()
    return {"message": text, "progress": progress, "encoded": base64.b64encode(encoded).decode()}


def fields(encoded):
    """The fields of a protobuf message: number and value, an integer or bytes."""
    at = 0
    while at < len(encoded):
        tag, at = varint(encoded, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, at = varint(encoded, at)
        else:
            if wire_type == BYTES:
                size, at = varint(encoded, at)
            else:
                size = {FIXED64: 8, FIXED32: 4}[wire_type]
            value, at = encoded[at : at + size], at + size
            if at > len(encoded):
                raise ValueError(f"field {number} ends outside of its message")
        yield number, value


def varint(encoded, at):
    value, shift = 0, 0
    while True:
        byte = encoded[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def pair(text):
    """`name=value` as metadata; the value of a `-bin` name is given as base64."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text} is not name=value")
    return name.lower(), base64.b64decode(value) if name.endswith("-bin") else value


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def arguments():
    common = Parser(add_help=False)
    add = common.add_argument
    add("--metadata", type=pair, action="append", default=[], metavar="NAME=VALUE")
    add("--timeout", type=float, help="seconds: a deadline, told to the other side (none)")
    add("--give-up", type=float, default=60, help="seconds until this client ends by itself (60)")
    add("--gzip", action="store_true", help="compress messages")
    add("--ca", help="PEM file that signs for the server: TLS")
    add("--authority", help="the name asked for, instead of that of the address")

    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="host:port")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name, help, *options):
        made = commands.add_parser(name, help=help, parents=[common])
        for option, settings in options:
            made.add_argument(option, **settings)

    def whole(default):
        return {"type": int, "default": default}

    text = ("--text", {"default": "hello"})
    size = ("--size", {**whole(0), "help": "fills texts up to so many bytes"})
    streams, messages = ("--streams", whole(1)), ("--messages", whole(3))
    channels = ("--channels", {**whole(1), "help": "connections (1)"})
    count, concurrency = ("--count", whole(1)), ("--concurrency", whole(1))
    command("unary", "N calls, C at a time", text, size, count, concurrency, channels)
    say = ("--say", {"action": "append", "metavar": "TEXT", "help": "one message, as it is"})
    said = (text, size, messages, say, streams, channels)
    command("client-stream", "S streams in turns", *said)
    counted = ("--count", {"type": int, "help": "asks for so many answers"})
    command("server-stream", "S streams at once", text, size, counted, streams, channels)
    command("bidi", "S streams, M times there and back", *said)
    command(
        "fanout",
        "N messages of FanoutServerStream, then cancels",
        ("--take", whole(1)),
        ("--last-message-id", {"metavar": "BASE64"}),
        ("--field", whole(32767)),
    )
    command("unknown", "a method and a service that do not exist")
    command("deadline", "a call that is too slow", ("--text", {"default": "sleep=30;late"}))
    command("health", "grpc.health.v1", ("--service", {"default": ""}))
    hold = ("--hold", {"type": float, "default": 0.3, "help": "seconds before it cancels (0.3)"})
    command("abandon", "M messages of a client stream, then cancels", text, messages, hold)
    return parser.parse_args()


async def run(given):
    client = Client(given)
    calls = getattr(client, given.command.replace("-", "_"))()
    try:
        return await asyncio.wait_for(calls, given.give_up)
    except TimeoutError:
        return {"code": "GAVE_UP", "details": f"nothing came of it in {given.give_up} s"}
    finally:
        await client.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(arguments()))))
