"""What we take, another reader takes for the same message: thousands of almost right ones, and h11 beside us.

h11 is what serves our services. It may take more than we do; what we let through it must not read otherwise.
"""

import random

import h11
import pytest

from runtime.http1 import find_head, read_request, read_response
from runtime.http1_bodies import Malformed

MESSAGES = 1500
FIELDS = [
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"Content-Length:",
    b"Connection: close\r\n",
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
    *(
        b":",
        b",",
        b";",
        b"5",
        b"0",
        b"a",
        b"+",
        b"-",
        b"0x",
        b"_",
        b"(",
        b"chunked",
        b" HTTP/1.0",
        b"HTTP/1.1 ",
    ),
]
REQUEST = [b"POST", b" ", b"/a", b" HTTP/1.1", b"\r\n", b"Host: h\r\n"]
RESPONSE = [b"HTTP/1.1", b" ", b"200", b" ", b"OK", b"\r\n"]


def almost(chance, line):
    """A message with up to three things wrong with it, or none."""
    parts = [*line, *chance.choices(FIELDS, k=chance.randint(0, 2)), b"\r\n"]
    parts += chance.choices(BODIES, k=chance.randint(0, 3))
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(parts))
        kind = chance.random()
        if kind < 0.4:
            parts.insert(at, chance.choice(SCRAPS + FIELDS))
        elif kind < 0.7:
            parts[at] = chance.choice(SCRAPS + FIELDS)
        elif parts[at]:
            byte = chance.randrange(len(parts[at]))
            parts[at] = parts[at][:byte] + chance.choice(SCRAPS) + parts[at][byte + 1 :]
    return b"".join(parts)


def body_of(body, data):
    """A body and what is behind it; None where it isn't all there."""
    pieces = []
    while not body.done:
        piece, data = body.take(data)
        if not piece and not body.done:
            return None
        pieces.append(piece)
    return b"".join(pieces), data


def ours(data, read):
    """First line, fields, body and rest of the message that we read; None where we read none."""
    try:
        size = find_head(data, 32 * 1024)
        if not size:
            return None
        head = read(data[:size])
        found = body_of(head.body() if callable(head.body) else head.body, data[size:])
    except Malformed:
        return None
    return found and (head, sorted(head.fields), *found)


def theirs(data, connection):
    """As of ours, from h11; an exception of its own where it refuses the message."""
    connection.receive_data(data)
    head, pieces = None, []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request | h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            fields = sorted((bytes(name), bytes(value)) for name, value in head.headers)
            return head, fields, b"".join(pieces), connection.trailing_data[0]
        assert event not in (h11.NEED_DATA, h11.PAUSED), "it waits for more"


@pytest.mark.parametrize("seed", range(3))
def test_requests(seed):
    """Method, target, fields, body, and where the next request begins."""
    chance = random.Random(seed)
    taken = 0
    for data in (almost(chance, REQUEST) for _ in range(MESSAGES)):
        if (found := ours(data, read_request)) is None:
            continue
        taken += 1
        head, *rest = found
        other, *others = theirs(data, h11.Connection(h11.SERVER))
        assert (head.method.encode(), head.target) == (other.method, other.target), data
        assert rest == others, data
    assert MESSAGES // 10 < taken < MESSAGES


def asking():
    """A client that has sent a GET."""
    connection = h11.Connection(h11.CLIENT)
    for event in (h11.Request(method="GET", target="/", headers=[("host", "h")]), h11.EndOfMessage()):
        connection.send(event)
    return connection


@pytest.mark.parametrize("seed", range(3))
def test_responses(seed):
    """Status, fields, body, and what nobody asked for behind it."""
    chance = random.Random(seed)
    taken = 0
    for data in (almost(chance, RESPONSE) for _ in range(MESSAGES)):
        found = ours(data, lambda head: read_response(head, "GET"))
        if found is None or found[0].status < 200:
            continue
        taken += 1
        head, *rest = found
        other, *others = theirs(data, asking())
        assert head.status == other.status_code, data
        assert rest == others, data
    assert MESSAGES // 50 < taken < MESSAGES
