#!/usr/bin/env python3
"""A grpc-web client of raw bytes over HTTP/1.1, with the standard library only: web.py URL [METHOD] [OPTION...]

Rule: what the other side said is printed as it came, as one JSON object, and exits 0; only misuse exits otherwise.
"""

import argparse
import base64
import http.client
import json
import ssl
import struct
import sys
import time
import urllib.parse

TRAILERS = 0x80
TYPES = {"binary": "application/grpc-web+proto", "text": "application/grpc-web-text"}


def joined(pairs):
    """Header fields by lower-case name, values of one name joined as HTTP does."""
    fields = {}
    for name, value in pairs:
        name = name.lower()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


class Body:
    """The bytes of an answer as they come; in text mode, each group of four letters by itself, as padding may come anywhere."""

    def __init__(self, response, is_text):
        self._response, self._is_text = response, is_text
        self._letters, self._bytes = b"", b""

    def take(self, size):
        """So many bytes, or fewer where the answer ends."""
        while len(self._bytes) < size:
            came = self._response.read1(65536)
            if not came:
                break
            if self._is_text:
                self._letters += came
                whole = len(self._letters) // 4 * 4
                groups = (self._letters[at : at + 4] for at in range(0, whole, 4))
                came = b"".join(base64.b64decode(group, validate=True) for group in groups)
                self._letters = self._letters[whole:]
            self._bytes += came
        taken, self._bytes = self._bytes[:size], self._bytes[size:]
        return taken

    def left(self):
        return len(self._bytes) + len(self._letters)


def frames(body):
    """The flags and content of each frame; one that is cut off raises."""
    while head := body.take(5):
        if len(head) < 5:
            raise EOFError("the answer ends within the head of a frame")
        flags, size = struct.unpack(">BI", head)
        content = body.take(size)
        if len(content) < size:
            raise EOFError(f"the answer ends after {len(content)} bytes of a frame of {size}")
        yield flags, content


def text_of(message):
    """Field 1 of an Echo message, if that is all there is in it."""
    if not message:
        return ""
    size, at, shift = 0, 1, 0
    if message[0] != 0x0A:
        return None
    while at < len(message):
        byte = message[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return message[at:].decode() if len(message) - at == size else None
    return None


def message_of(text):
    """An Echo message with `text`, which is shortest when it is empty."""
    content, size = text.encode(), b""
    left = len(content)
    while left > 0x7F:
        size += bytes([left & 0x7F | 0x80])
        left >>= 7
    return b"\x0a" + size + bytes([left]) + content if content else b""


def pair(text):
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text} is not name=value")
    return name, value


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def arguments():
    parser = Parser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("url", help="http://host:port, or https with --ca")
    add("method", nargs="?", default="grpc.examples.echo.Echo/UnaryEcho", help="Service/Method")
    add("--text", default="hello", help="of an Echo message (hello)")
    add("--message", metavar="BASE64", help="any message, instead")
    add("--mode", choices=TYPES, default="binary")
    add("--content-type", help="instead of that of the mode")
    add("--accept", help="instead of the content type")
    add("--origin", help="the header Origin")
    add("--preflight", action="store_true", help="OPTIONS, and no call")
    add("--header", type=pair, action="append", default=[], metavar="NAME=VALUE")
    add("--take", type=int, help="closes after so many messages")
    add("--timeout", type=float, default=30, help="longest wait for bytes, in seconds (30)")
    add("--ca", help="PEM file that signs for the server")
    given = parser.parse_args()
    given.parts = urllib.parse.urlsplit(given.url)
    if given.parts.scheme not in ("http", "https") or not given.parts.hostname:
        parser.error(f"{given.url} is no http(s) URL")
    return given


def connect(given):
    host, port = given.parts.hostname, given.parts.port
    if given.parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=given.timeout)
    trust = ssl.create_default_context(cafile=given.ca)
    return http.client.HTTPSConnection(host, port, timeout=given.timeout, context=trust)


def headers_of(given, content_type):
    headers = {"Origin": given.origin} if given.origin else {}
    if given.preflight:
        asked = ["content-type", "x-grpc-web", *(name.lower() for name, _ in given.header)]
        return headers | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": ",".join(asked),
        }
    return headers | {
        "Content-Type": content_type,
        "Accept": given.accept or content_type,
        "X-Grpc-Web": "1",
        "X-User-Agent": "grpc-web-python/0.1",
        # What the gateway asks of gRPC, and what browsers cannot send, is not here; --header adds it.
        **dict(given.header),
    }


def exchange(given):
    content_type = given.content_type or TYPES[given.mode]
    body = None
    if not given.preflight:
        message = message_of(given.text)
        if given.message is not None:
            message = base64.b64decode(given.message)
        body = struct.pack(">BI", 0, len(message)) + message
        body = base64.b64encode(body) if given.mode == "text" else body
    result = {"status": None, "headers": {}, "messages": [], "texts": [], "times": []}
    result |= {"trailers": None, "error": None}
    started = time.monotonic()
    connection = connect(given)
    try:
        path = given.parts.path.rstrip("/") + "/" + given.method.lstrip("/")
        method = "OPTIONS" if given.preflight else "POST"
        connection.request(method, path, body, headers_of(given, content_type))
        response = connection.getresponse()
        result["status"] = response.status
        result["headers"] = joined(response.getheaders())
        if not result["headers"].get("content-type", "").startswith("application/grpc-web"):
            result["body"] = response.read().decode(errors="replace")
        else:
            is_text = result["headers"]["content-type"].startswith(TYPES["text"])
            take(given, Body(response, is_text), started, result)
    except (OSError, EOFError, ValueError, http.client.HTTPException) as fault:
        result["error"] = repr(fault)
    finally:
        connection.close()
    return result | {"seconds": time.monotonic() - started}


def take(given, body, started, result):
    """Puts messages and trailers into `result` as they come, so that a fault leaves what was there before."""
    for flags, content in frames(body):
        if flags & TRAILERS:
            lines = content.decode().split("\r\n")
            pairs = (line.split(":", 1) for line in lines if line)
            result["trailers"] = joined((name, value.strip()) for name, value in pairs)
        else:
            if result["trailers"] is not None:
                raise ValueError("a message after the trailers")
            result["messages"].append(base64.b64encode(content).decode())
            result["texts"].append(text_of(content))
            result["times"].append(time.monotonic() - started)
            if len(result["messages"]) == given.take:
                return
    if body.left():
        raise EOFError("the answer ends within a group of four letters")


if __name__ == "__main__":
    print(json.dumps(exchange(arguments())))
