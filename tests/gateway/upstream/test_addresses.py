"""Names are looked up in each upstream's own threads, and every address of a name is tried."""

import errno
import socket
import threading
from pathlib import Path

import pytest
import trio

from actors.adapters.shortage import is_shortage
from gateway.upstream.addresses import (
    FRESH_SECONDS,
    LOOKUPS_AT_ONCE,
    Address,
    Resolver,
    connect_to_any,
)


def fake(monkeypatch, answer):
    """Look up names by `answer`, and numeric addresses as usual."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002 - its own names
        if flags & socket.AI_NUMERICHOST:
            return real(host, port, family, type, proto, flags)
        return [(family, type, proto, "", sockaddr) for family, sockaddr in answer(host, port)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_a_numeric_address_needs_no_thread(monkeypatch, host, family):
    async def no_thread(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    [address] = await Resolver(host, 80).resolve()
    assert (address.family, address.sockaddr[:2]) == (family, (host, 80))


async def test_address_families_alternate(monkeypatch):
    """Often all addresses of one family are unreachable."""
    six = [(socket.AF_INET6, (f"::{n}", 80, 0, 0)) for n in (1, 2, 3)]
    four = [(socket.AF_INET, (f"127.0.0.{n}", 80)) for n in (1, 2)]
    fake(monkeypatch, lambda host, port: six + four)
    found = await Resolver("h", 80).resolve()
    assert [one.sockaddr[0] for one in found] == ["::1", "127.0.0.1", "::2", "::3", "127.0.0.2"]
    fake(monkeypatch, lambda host, port: four)
    assert [one.sockaddr[0] for one in await Resolver("h", 80).resolve()] == ["127.0.0.1", "127.0.0.2"]


async def test_a_hanging_look_up_takes_no_thread_of_another_name(monkeypatch):
    """A cancelled caller returns at once."""
    release = threading.Event()
    asked = []

    def answer(host, port):
        asked.append(host)
        if host == "hangs":
            release.wait(10)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    fake(monkeypatch, answer)
    hanging, fine = Resolver("hangs", 80), Resolver("fine", 80)
    try:
        for _ in range(2):  # cancelled callers leave their threads behind
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(hanging.resolve)
                await trio.testing.wait_all_tasks_blocked(0.05)
                with trio.fail_after(2):
                    assert len(await fine.resolve()) == 1
                nursery.cancel_scope.cancel()
        assert asked.count("hangs") == LOOKUPS_AT_ONCE
    finally:
        release.set()


async def test_one_look_up_serves_concurrent_connections(monkeypatch):
    """The next one follows a second later."""
    asked = []

    def answer(host, port):
        asked.append(host)
        return [(socket.AF_INET, (f"127.0.0.{len(asked)}", port))]

    fake(monkeypatch, answer)
    resolver = Resolver("h", 80)
    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(resolver.resolve)
    assert len(asked) <= LOOKUPS_AT_ONCE
    resolver._fresh_until -= FRESH_SECONDS
    count = len(asked)
    [address] = await resolver.resolve()
    assert (len(asked), address.sockaddr[0]) == (count + 1, f"127.0.0.{count + 1}")


async def test_an_unknown_name_raises_the_look_ups_error(monkeypatch):
    def answer(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    fake(monkeypatch, answer)
    with pytest.raises(socket.gaierror):
        await Resolver("h", 80).resolve()


def listening(backlog=5):
    sock = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    return sock, Address(socket.AF_INET, sock.getsockname())


def refusing():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Address(socket.AF_INET, sock.getsockname())


def full():
    """A listener that accepts no connection: its backlog is full."""
    sock, address = listening(backlog=0)
    waiting = [socket.socket() for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(address.sockaddr)
    return [sock, *waiting], address


async def test_after_a_refusal_the_next_address_is_tried_at_once():
    sock, address = listening()
    with sock, trio.fail_after(1):
        stream = await connect_to_any([refusing(), refusing(), address], stagger=30)
        assert stream.socket.getpeername() == address.sockaddr
        stream.socket.close()


async def test_a_silent_address_is_tried_beside_the_next_one():
    socks, silent = full()
    sock, address = listening()
    with sock, trio.fail_after(1):
        stream = await connect_to_any([silent, address], stagger=0.05)
        assert stream.socket.getpeername() == address.sockaddr
        stream.socket.close()
    for one in socks:
        one.close()


@pytest.mark.parametrize("count", [1, 3])
async def test_the_error_names_each_address_and_its_reason(count):
    addresses = [refusing() for _ in range(count)]
    with pytest.raises(OSError) as caught:
        await connect_to_any(addresses)
    said = str(caught.value)
    assert said.count("Connection refused") == count
    assert all(f"127.0.0.1:{one.sockaddr[1]}" in said for one in addresses)


async def test_the_error_number_is_a_servers_rather_than_our_own_shortage(monkeypatch):
    real = trio.socket.socket
    left = 0

    def lacking(*args):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*args)

    monkeypatch.setattr(trio.socket, "socket", lacking)
    with pytest.raises(OSError) as caught:
        await connect_to_any([refusing(), refusing()])
    assert is_shortage(caught.value)
    left = 1
    with pytest.raises(OSError) as caught:
        await connect_to_any([refusing(), refusing()])
    assert caught.value.errno == errno.ECONNREFUSED
    assert "Too many open files" in str(caught.value)


async def test_a_cancelled_connect_leaves_no_socket_open():
    socks, silent = full()
    before = open_files()
    with trio.move_on_after(0.1) as scope:
        await connect_to_any([silent, silent], stagger=0.01)
    assert scope.cancelled_caught
    assert open_files() == before
    for one in socks:
        one.close()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))
