"""A Valkey for the tests of workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.valkey import ValkeyServer, running_valkey


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A server of the test's own."""
    with running_valkey() as server:
        yield server
