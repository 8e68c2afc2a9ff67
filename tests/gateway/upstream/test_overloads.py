"""Calls that fail because the gateway lacks files, ports or memory are counted apart from failures."""

import errno
import resource

import pytest
import structlog.testing

from gateway.upstream.connection import LocalShortage
from gateway.upstream.overloads import Overloads, warn_of_file_limit
from tests.gateway.running_gateway import in_process_gateway

NOWHERE = {"auth": None, "school": None, "student": None}


def shortage(number):
    error = LocalShortage("http://127.0.0.1:1: none left")
    error.__cause__ = OSError(number, "none left")
    return error


@pytest.mark.parametrize(
    ("number", "lacked"),
    [
        (errno.EMFILE, "files"),
        (errno.ENFILE, "files"),
        (errno.EADDRNOTAVAIL, "ports"),
        (errno.ENOBUFS, "memory"),
        (errno.ENOMEM, "memory"),
    ],
)
def test_a_shortage_is_counted_by_resource(number, lacked):
    overloads = Overloads()
    overloads.note(shortage(number))
    assert {name for name, count in overloads.counts.items() if count} == {lacked}


async def test_every_resource_is_in_the_metrics_from_the_start(autojump_clock):
    async with in_process_gateway(NOWHERE) as gateway:
        text = (await gateway.client().get("/metrics")).text
    for name in ("files", "memory", "ports"):
        assert f'gateway_overloaded_total{{resource="{name}"}} 0.0' in text


def warned(needs):
    with structlog.testing.capture_logs() as logs:
        warn_of_file_limit(needs, needs)
    return [line for line in logs if line["log_level"] == "warning"]


def test_a_file_limit_that_is_too_low_is_warned_about(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    [line] = warned(1000)
    assert (line["limit"], line["needed"]) == (1024, 2064)


def test_a_sufficient_file_limit_is_not_warned_about(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    assert warned(1000) == []


def test_an_unlimited_number_of_files_is_not_warned_about(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert warned(10**9) == []
