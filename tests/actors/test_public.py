"""Every public name has a docstring with all that a caller must know, and a place in the reference."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from actors import CircuitBreaker, CircuitBreakerConfig, Guard, Panel
from tests.optional import is_usable

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
ADAPTERS = ["grpc", "health", "httpx", "logs", "metrics", "mongo", "otel_metrics", "tracing"]
OURS = [getattr(actors, name) for name in actors.__all__ if callable(getattr(actors, name))]
# Shared by the package's own parts, which hold a breaker, a guard or a panel too. A new one belongs here only
# if no underscore will do.
SHARED = {
    CircuitBreaker: """admission_changes admit allows_fast_path apply_policy broadcaster bulkhead classifier
        clock emit fast follow_admission follow_machine forget_ended gate histogram in_flight_calls is_scoped
        is_timed is_waited_for is_watched is_within mailbox notify_waiters outer_call policy publish_end
        retired settle token try_settle_success waiters""",
    Guard: """breaker cancel_with cancelled_with contains_running_task context deadline end enter falls_back
        hold is_cancellable is_counted is_timed_out keep_own_timeout let_go outcome outer returned run running
        stay_within take_report time_out timeout verdict""",
    Panel: "begin_closing finish_closing note_crash note_stopped_shadow remove_idle report_callback",
}
INTERNAL = {f"{cls.__name__}.{name}" for cls, names in SHARED.items() for name in names.split()}


def members(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that a class of ours defines or inherits from one of ours."""
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in ("actors", "protocols"):
            for name, member in vars(base).items():
                if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                    yield f"{cls.__name__}.{name}", member


METHODS = dict(pair for one in OURS if inspect.isclass(one) for pair in members(one))


def is_async(function: object) -> bool:
    inner = inspect.unwrap(function)  # type: ignore[arg-type]
    return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)


def own_docstring(one: object) -> str:
    """Its docstring. A dataclass without one has its signature there, which doesn't count."""
    doc = inspect.getdoc(one) or ""
    generated = isinstance(one, type) and doc.startswith(f"{one.__name__}(")
    return "" if generated else doc


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.__name__)
def test_every_public_name_has_a_docstring(one: object) -> None:
    assert own_docstring(one)


@pytest.mark.parametrize("name", METHODS)
def test_every_public_method_has_a_docstring(name: str) -> None:
    assert own_docstring(METHODS[name])


WAITING = {name: method for name, method in METHODS.items() if is_async(method) and name not in INTERNAL}
WAITING["open_panel"] = actors.open_panel


@pytest.mark.parametrize("name", [*WAITING, "Guard"])
def test_docstrings_of_waiting_methods_cover_cancellation_and_errors(name: str) -> None:
    doc = own_docstring(Guard if name == "Guard" else WAITING[name])
    assert re.search(r"cancel", doc, re.IGNORECASE)
    assert "aise" in doc or name == "Panel.events"


def test_every_waiting_method_is_examined() -> None:
    waits = "execute execute_or execute_with_fallback snapshot events wait_until_admitting wait_closed"
    waits += " trip reset force_open disable observe configure"
    assert {f"CircuitBreaker.{name}" for name in waits.split()} <= WAITING.keys()
    assert {"Panel.snapshots", "Panel.events", "Panel.remove"} <= WAITING.keys()


def test_every_field_of_a_policy_is_explained_with_its_unit() -> None:
    doc = own_docstring(CircuitBreakerConfig)
    for field in dataclasses.fields(CircuitBreakerConfig):
        assert f"{field.name}: " in doc
    assert "Times are seconds" in doc


@pytest.mark.parametrize("cls", [CircuitBreaker, actors.CircuitOpenError])
def test_docstrings_of_waits_name_seconds(cls: type[CircuitBreaker] | type[actors.CircuitOpenError]) -> None:
    assert "Seconds" in own_docstring(cls.retry_after)


# The reference.


@pytest.fixture(scope="module")
def api() -> str:
    return (REFERENCE / "api.md").read_text()


@pytest.mark.parametrize("name", actors.__all__)
def test_the_reference_has_every_name(api: str, name: str) -> None:
    assert re.search(rf"\b{name}\b", api)


@pytest.mark.parametrize("cls", [CircuitBreaker, Panel, Guard, actors.Machine], ids=lambda cls: cls.__name__)
def test_the_reference_has_every_method(api: str, cls: type) -> None:
    for name, _ in members(cls):
        if name not in INTERNAL and not name.startswith("Machine."):
            assert re.search(rf"\b{name.split('.')[1]}\b", api), name


@pytest.mark.parametrize("cls", [CircuitBreaker, Panel, Guard], ids=lambda cls: cls.__name__)
def test_every_method_that_is_not_internal_is_in_the_reference(api: str, cls: type) -> None:
    """Attributes too, so that none becomes public by accident."""
    for name in dir(cls):
        if not name.startswith("_") and f"{cls.__name__}.{name}" not in INTERNAL:
            assert re.search(rf"\b{name}\b", api), name


def test_the_reference_has_every_field_with_its_default(api: str) -> None:
    for cls in (CircuitBreakerConfig, actors.Backoff, actors.Snapshot):
        for field in dataclasses.fields(cls):
            assert f"`{field.name}`" in api, field.name
    for field in dataclasses.fields(CircuitBreakerConfig):
        if isinstance(field.default, int | float | None):
            row = next(line for line in api.splitlines() if line.startswith(f"| `{field.name}`"))
            assert f"| `{field.default}` |" in row, row


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_reference_has_every_adapter(adapter: str) -> None:
    if not is_usable(f"actors.adapters.{adapter}"):
        pytest.skip("its library isn't installed")
    module = importlib.import_module(f"actors.adapters.{adapter}")
    text = (REFERENCE / "adapters.md").read_text()
    for name, member in vars(module).items():
        if callable(member) and not name.startswith("_") and member.__module__ == module.__name__:
            assert own_docstring(member), name
            assert re.search(rf"\b{name}\b", text), f"{adapter}.{name}"


def test_the_reference_has_every_helper_for_tests() -> None:
    module = importlib.import_module("actors.testing")
    text = (REFERENCE / "testing.md").read_text()
    for name, member in vars(module).items():
        if callable(member) and member.__module__ == module.__name__:
            assert own_docstring(member), name
            assert re.search(rf"\b{name}\b", text), name
