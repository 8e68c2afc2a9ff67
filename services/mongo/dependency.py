"""MongoDB as a service's dependency."""

from __future__ import annotations

from pymongo.errors import WaitQueueTimeoutError

from actors import CircuitBreakerConfig, Panel
from actors.adapters import mongo
from protocols.http import Code
from runtime.serving.loop_time import LoopTime
from services.dependency import Dependency, Verdict


def mongo_verdict(error: BaseException) -> Verdict:
    """The verdict on an exception of an operation on MongoDB."""
    if mongo.is_answer(error):
        return Verdict.ANSWER
    if isinstance(error, WaitQueueTimeoutError):
        return Verdict.POOL_FULL
    if mongo.is_own_shortage(error):
        return Verdict.OUT_OF_RESOURCES
    return Verdict.FAILURE if mongo.is_failure(error) else Verdict.UNRELATED


def database_dependency(
    panel: Panel,
    config: CircuitBreakerConfig,
    rejection_message: str,
    loop_time: LoopTime | None = None,
) -> Dependency:
    """MongoDB behind the breaker of `config`. Failures are answered with DATABASE_ERROR.

    rejection_message, loop_time: see Dependency.
    """
    return Dependency(
        panel,
        config,
        verdict=mongo_verdict,
        target="mongodb",
        failure_code=Code.DATABASE_ERROR,
        failure_message="database error",
        rejection_message=rejection_message,
        loop_time=loop_time,
    )
