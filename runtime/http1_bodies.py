"""How HTTP/1.1 lines and bodies are read. Pure; `runtime.http1` says why so strictly."""

from __future__ import annotations

import re

Fields = list[tuple[bytes, bytes]]

CHUNK_LINE = 256
"""Bytes of a chunk's size and extensions."""
TRAILER_BYTES = 16 * 1024

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
LINES = rb"(?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)*" % TOKEN
BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_TRAILERS = re.compile(rb"%b\r\n" % LINES)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_CHUNK_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?)?")


class Malformed(ValueError):
    """The bytes aren't the message they should be. status: what a client that sent them is answered."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


def read_fields(data: bytes, start: int) -> Fields:
    """The fields of lines that were found to be in order."""
    return [(name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(data, start)]


class Length:
    """A body of so many bytes. Each kind of body has `take` and `done`, and says how it ends."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = not length

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The next bytes of the body, and what of `data` is left for later."""
        if len(data) < self.left:
            self.left -= len(data)
            return data, b""
        piece, rest = data[: self.left], data[self.left :]
        self.left = 0
        self.done = True
        return piece, rest


class UntilClose:
    """A response's body that ends with its connection: only who closes knows whether it's whole."""

    ends_with_connection = True

    def __init__(self) -> None:
        self.done = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """All of it."""
        return data, b""


class Chunked:
    """A body in chunks. `trailers`: the fields behind it, once it is done."""

    ends_with_connection = False

    def __init__(self) -> None:
        self.done = False
        self.trailers: Fields = []
        self._left = 0
        self._at_end_of_chunk = False
        self._last = False
        self._seen = 0

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """As of Length; raises Malformed as soon as it's clear that the bytes can't become a chunk."""
        pieces: list[bytes] = []
        at = 0
        while not self._last:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    return b"".join(pieces), b""
                self._at_end_of_chunk = True
            try:
                begun = self._chunk(data, at)
            except Malformed:
                if not pieces:
                    raise
                begun = None  # what came before it goes first
            if begun is None:
                return b"".join(pieces), data[at:]
            at = begun
        if pieces:
            return b"".join(pieces), self._end(data[at:]) if data[at : at + 2] == b"\r\n" else data[at:]
        return b"", self._end(data[at:])

    def _chunk(self, data: bytes, at: int) -> int | None:
        """Where the next chunk's data begins; None where its first line isn't all there yet."""
        start = at + 2 if self._at_end_of_chunk else at
        if self._at_end_of_chunk and not b"\r\n".startswith(data[at:start]):
            raise Malformed("a chunk is longer than its size")
        end = data.find(b"\r\n", start, start + CHUNK_LINE)
        if end < 0:
            line = data[start : start + CHUNK_LINE]
            if len(line) == CHUNK_LINE or not _CHUNK_BEGUN.fullmatch(line):
                raise Malformed("a chunk's size can't be read")
            return None
        size = _CHUNK.fullmatch(data, start, end)
        if size is None:
            raise Malformed("a chunk's size can't be read")
        self._at_end_of_chunk = False
        self._left = int(size[1], 16)
        self._last = not self._left
        return end + 2

    def _end(self, data: bytes) -> bytes:
        """Take the trailers, if they are all there."""
        if data.startswith(b"\r\n"):
            self.done = True
            return data[2:]
        end = data.find(b"\r\n\r\n", max(0, self._seen - 3), TRAILER_BYTES)
        if end < 0:
            if len(data) >= TRAILER_BYTES or BARE.search(data, max(0, self._seen - 1)):
                raise Malformed("the trailers can't be read")
            self._seen = len(data)
            return data
        section = data[: end + 4]
        if not _TRAILERS.fullmatch(section):
            raise Malformed("the trailers can't be read")
        self.trailers = read_fields(section, 0)
        self.done = True
        return data[end + 4 :]


Body = Length | Chunked | UntilClose
