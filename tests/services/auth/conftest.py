"""Fixtures of the auth service's tests."""

from __future__ import annotations

import pytest

from actors import Panel
from tests.services.auth.auth_client import Service


@pytest.fixture
async def service(panel: Panel) -> Service:
    return Service(panel)
