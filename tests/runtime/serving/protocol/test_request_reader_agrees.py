"""h11 reads an accepted request alike, and so does the reader in pieces: thousands of almost valid ones."""

from __future__ import annotations

import random

import h11
import pytest

from tests.almost_http import almost
from tests.runtime.serving.protocol.reading import read_in

MESSAGES = 2500
FIELDS = [
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"Content-Length:",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"A: b\r\n",
    b"Expect: 100-continue\r\n",
]
BODIES = [
    b"5\r\nabcde\r\n",
    b"5;x=y\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"abcde",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
]
SCRAPS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"  ", b"\t", b"\x0b", b"\0", b"\x7f", b"\x85", b"\xa0", b"\xff"),
    *(b":", b",", b";", b"5", b"0", b"a", b"+", b"-", b"0x", b"_", b"(", b"chunked", b" HTTP/1.0"),
    *(b"HTTP/1.1 ", b"RTSP/1.0", b"CONNECT", b"HEAD"),
]
REQUEST = [b"POST", b" ", b"/a", b" HTTP/1.1", b"\r\n", b"Host: h\r\n"]


def almost_request(chance):
    return almost(chance, REQUEST, FIELDS, BODIES, SCRAPS)


def theirs(data):
    """Method, target, fields and body of the first request, as h11 reads it, and what is behind it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    head, pieces = None, []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            fields = tuple((bytes(name), bytes(value)) for name, value in head.headers)
            rest = connection.trailing_data[0]
            return (head.method.decode(), head.target, fields, b"".join(pieces)), rest
        assert event not in (h11.NEED_DATA, h11.PAUSED), "it waits for more"


@pytest.mark.parametrize("seed", range(4))
def test_both_readers_agree_on_requests(seed):
    chance = random.Random(seed)
    accepted = 0
    for n in range(MESSAGES):
        data = almost_request(chance) + (almost_request(chance) if n % 3 == 0 else b"")
        rest = data
        for found in read_in([data])[0]:
            if not found.whole:
                break
            accepted += 1
            # Empty lines in front are no part of a request; h11 refuses them before the first one.
            while rest.startswith(b"\r\n"):
                rest = rest.removeprefix(b"\r\n")
            other, rest = theirs(rest)
            assert (found.method, found.target, found.fields, found.body) == other, data
    assert MESSAGES // 10 < accepted < MESSAGES


@pytest.mark.parametrize("seed", range(4))
def test_requests_and_errors_are_the_same_in_any_pieces(seed):
    chance = random.Random(seed)
    for _ in range(MESSAGES):
        data = almost_request(chance) + (almost_request(chance) if chance.random() < 0.5 else b"")
        whole, reader = read_in([data])
        for size in (1, chance.randint(2, 9), chance.randint(10, 60)):
            found, other = read_in([data[at : at + size] for at in range(0, len(data), size)])
            assert found == whole, (size, data)
            assert (other.error is None) == (reader.error is None), (size, data)


@pytest.mark.parametrize("seed", range(2))
def test_random_bytes_are_refused_or_read_without_another_error(seed):
    chance = random.Random(seed)
    for _ in range(MESSAGES):
        front = b"".join(chance.choices([*REQUEST, *FIELDS, *BODIES, *SCRAPS], k=chance.randint(0, 9)))
        found, reader = read_in([front, chance.randbytes(chance.randint(0, 60))])
        assert found is not None
        assert reader.error is None or 400 <= reader.error.status < 600
