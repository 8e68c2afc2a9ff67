"""One real stack for the tests of this folder. After the tests of each file, nothing may be broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deploy.config import StackError
from deploy.programs.mongodb import find_mongod
from tests.security.attacked_stack import AttackedStack, attacked_stack


@pytest.fixture(scope="session")
def _attacked() -> Iterator[AttackedStack]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the stack's tests read /proc, and need addresses of their own")
    try:
        find_mongod()
    except StackError as error:
        pytest.skip(str(error))
    with attacked_stack() as running:
        yield running


@pytest.fixture(scope="module")
def attacked(_attacked: AttackedStack) -> Iterator[AttackedStack]:
    """The stack. After the last test of a file it must be as well as before the first."""
    yield _attacked
    if problems := _attacked.problems():
        pytest.fail("\n".join(problems))
