"""One real stack for the tests of this folder, with reset timeouts of two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deploy.config import StackError
from deploy.demo.ephemeral_stack import EphemeralStack
from deploy.programs.mongodb import find_mongod
from tests.stack.running import RunningStack

RESET_TIMEOUT = 2.0


@pytest.fixture(scope="session")
def _running() -> Iterator[RunningStack]:
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
        yield RunningStack(stack, bearer, made.json()["data"]["id"])


@pytest.fixture
def running(_running: RunningStack) -> Iterator[RunningStack]:
    """The stack. All its processes run and all breakers are closed, before each test."""
    _running.stack.run("up")
    assert _running.all_closed(), _running.stack.states()
    _running.bearer = _running.stack.bearer()  # a token lives for 15 minutes, the tests may take longer
    yield _running
    _running.stack.run("up")


@pytest.fixture(scope="session")
def running_once(_running: RunningStack) -> RunningStack:
    """The stack, for tests that don't change it."""
    _running.stack.run("up")
    _running.bearer = _running.stack.bearer()
    return _running
