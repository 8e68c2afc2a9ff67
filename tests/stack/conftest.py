"""One real stack for the tests of this folder, on ports of its own, with reset timeouts of two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deploy.config import StackError
from deploy.demo.ephemeral_stack import EphemeralStack
from deploy.mongodb import find_mongod
from tests.stack.running import Running

RESET_TIMEOUT = 2.0


@pytest.fixture(scope="session")
def _running() -> Iterator[Running]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the stack's tests read /proc")
    try:
        find_mongod()
    except StackError as error:
        pytest.skip(str(error))
    with EphemeralStack(RESET_TIMEOUT) as stack:
        bearer = stack.sign_up()
        body = {"registration_number": "R-1", "name": "Hill School"}
        made = stack.client.post("/schools", headers=bearer, json=body)
        assert made.status_code == 201, made.text
        yield Running(stack, bearer, made.json()["data"]["id"])


@pytest.fixture
def running(_running: Running) -> Iterator[Running]:
    """The stack, all of it up and every breaker closed, before each test."""
    _running.stack.run("up")
    assert _running.all_closed(), _running.stack.states()
    yield _running
    _running.stack.run("up")


@pytest.fixture(scope="session")
def running_once(_running: Running) -> Running:
    """The stack as it stands, for tests that leave no mark on it."""
    _running.stack.run("up")
    return _running
