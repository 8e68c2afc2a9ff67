"""The public API as type checkers see it. Checked by `just lint`, never run.

Each `type: ignore` marks an error that has to be found: one that isn't needed fails the check.
"""

from __future__ import annotations

from typing import assert_type

from actors import (
    AnyOf,
    BulkheadFullError,
    CallSettled,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConsecutiveFailures,
    EventsLost,
    FailureRate,
    LastSeconds,
    Machine,
    Outcome,
    Permit,
    Rejection,
    RejectReason,
    Snapshot,
    Source,
    State,
    Transition,
    open_panel,
)


class User:
    """The result of a call of the dependency."""


async def fetch(number: int, /, *, fresh: bool = False) -> User:
    """A call of a dependency."""
    raise NotImplementedError


def not_async(number: int) -> User:
    """A function that isn't async."""
    raise NotImplementedError


async def nobody(error: CircuitOpenError | BulkheadFullError) -> None:
    """A fallback that is awaited."""


async def results_keep_their_type(breaker: CircuitBreaker) -> None:
    assert_type(await breaker.execute(fetch, 1), User)
    assert_type(await breaker.execute(fetch, 1, fresh=True), User)
    assert_type(await breaker.execute_or(lambda error: None, fetch, 1), User | None)
    assert_type(await breaker.execute_or(nobody, fetch, 1), User | None)
    assert_type(await breaker.execute_or(lambda error: error.retry_after, fetch, 1), User | float)


async def arguments_are_checked(breaker: CircuitBreaker) -> None:
    await breaker.execute(fetch)  # type: ignore[call-arg]
    await breaker.execute(fetch, "1")  # type: ignore[arg-type]
    await breaker.execute(fetch, 1, stale=True)  # type: ignore[call-arg]
    await breaker.execute(not_async, 1)  # type: ignore[arg-type]
    await breaker.execute(fetch(1))  # type: ignore[arg-type]
    await breaker.execute_or(None, fetch, 1)  # type: ignore[call-overload]
    await breaker.execute_or(lambda error: None, fetch, "1")  # type: ignore[call-overload]


async def guards_take_answers_and_sources(breaker: CircuitBreaker) -> None:
    async with breaker.guard(source=Source(client="ann", route=("POST", "/login"))) as call:
        assert_type(call.answered(), None)
        assert_type(call.exclude(0.5), None)
        call.exclude("0.5")  # type: ignore[arg-type]
    breaker.guard(source=("ann", "login"))  # type: ignore[arg-type]
    breaker.guard(Source())  # type: ignore[call-arg]
    Source(client=["ann"])  # type: ignore[arg-type]


async def protected_functions_keep_their_signature(breaker: CircuitBreaker) -> None:
    protected = breaker.protect(fetch)
    assert_type(await protected(1), User)
    assert_type(await protected(1, fresh=True), User)
    await protected()  # type: ignore[call-arg]
    await protected("1")  # type: ignore[arg-type]
    await protected(1, True)  # type: ignore[call-arg]
    await protected(number=1)  # type: ignore[call-arg]
    breaker.protect(not_async)  # type: ignore[arg-type]


async def methods_keep_theirs(breaker: CircuitBreaker) -> None:
    class Client:
        @breaker.protect
        async def find(self, number: int, *, fresh: bool = False) -> User:
            return await fetch(number, fresh=fresh)

    client = Client()
    assert_type(await client.find(1), User)
    assert_type(await client.find(number=1, fresh=True), User)
    await client.find("1")  # type: ignore[arg-type]
    await client.find()  # type: ignore[call-arg]


async def guards_let_no_exception_disappear(breaker: CircuitBreaker) -> User:
    async with breaker.guard() as call:
        user = await fetch(1)
        call.fail("why")
        call.ignore()
        call.succeed()
        call.fail(1)  # type: ignore[arg-type]
        return user
    # Were the block able to swallow an exception, a return would be missing here.


async def what_is_seen(breaker: CircuitBreaker) -> None:
    assert_type(breaker.name, str)
    assert_type(breaker.config, CircuitBreakerConfig)
    assert_type(breaker.state, State)
    assert_type(breaker.retry_after, float | None)
    snapshot = await breaker.snapshot()
    assert_type(snapshot, Snapshot)
    assert_type(snapshot.opened_at, float | None)
    breaker.state = State.OPEN  # type: ignore[misc]
    snapshot.failure_count = 0  # type: ignore[misc]
    async with breaker.events() as events:
        async for event in events:
            assert_type(event, Transition | CallSettled | EventsLost)


async def a_test_asserts_one_state_after_another(breaker: CircuitBreaker) -> None:
    assert breaker.state == State.OPEN
    await breaker.reset()
    assert breaker.state == State.CLOSED
    assert (await breaker.snapshot()).transitions == {(State.OPEN, State.CLOSED): 1}
    assert {State.OPEN: 1}[breaker.state] == 1


async def a_panel_holds_breakers() -> None:
    async with open_panel(durations=(0.1, 1)) as panel:
        assert_type(panel.breaker(CircuitBreakerConfig(name="it")), CircuitBreaker)
        assert_type(panel["it"], CircuitBreaker)
        assert_type(list(panel), list[CircuitBreaker])
        assert_type(await panel.snapshots(), dict[str, Snapshot])
        panel.breaker("it")  # type: ignore[arg-type]
    open_panel(5)  # type: ignore[call-arg]


def errors_say_what_they_know(rejected: CircuitOpenError, full: BulkheadFullError, late: CallTimeout) -> None:
    assert_type(rejected.name, str)
    assert_type(rejected.state, State)
    assert_type(rejected.retry_after, float)
    assert_type(rejected.last_failure, str | None)
    assert_type(rejected.reason, RejectReason)
    assert_type(full.name, str)
    assert_type(late.timeout, float | None)


def policies_are_checked() -> None:
    CircuitBreakerConfig(
        name="it",
        trip=AnyOf(
            ConsecutiveFailures(5),
            FailureRate(0.5, LastSeconds(60), minimum_calls=20),
        ),
        failure=(OSError, TimeoutError),
        ignore=lambda error: isinstance(error, KeyError),
        failure_result=lambda result: result is None,
        retry_after=lambda outcome: 1.0,
    )
    CircuitBreakerConfig("it")  # type: ignore[call-arg]
    CircuitBreakerConfig(name="it", max_failure=5)  # type: ignore[call-arg]
    CircuitBreakerConfig(name="it", trip=5)  # type: ignore[arg-type]
    CircuitBreakerConfig(name="it", failure=int)  # type: ignore[arg-type]
    CircuitBreakerConfig(name="it", probe=not_async)  # type: ignore[arg-type]


def the_machine_works_alone(machine: Machine) -> None:
    permit = machine.admit(0.0)
    assert_type(permit, Permit | Rejection)
    if not isinstance(permit, Rejection):
        assert_type(machine.settle(permit, Outcome.FAILURE, 1.0, duration=1.0), bool)
    assert_type(machine.deadline, float | None)
    assert_type(machine.snapshot(2.0), Snapshot)
    machine.settle(permit, Outcome.FAILURE, 1.0)  # type: ignore[arg-type]
    machine.admit("now")  # type: ignore[arg-type]
