"""A gateway in process, on a mock clock, in front of scripted services."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.running_gateway import RunningGateway, in_process_gateway
from tests.gateway.scripted_service import ScriptedService


@pytest.fixture
def services():
    return {name: ScriptedService() for name in ("auth", "school", "student")}


@pytest.fixture
async def gateway(services, autojump_clock) -> AsyncIterator[RunningGateway]:
    async with in_process_gateway(services) as built:
        yield built
