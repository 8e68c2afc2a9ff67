"""Predicates and callbacks must not be async, and probes must be."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import pytest

from actors import open_panel
from tests.actors.call.functions import Shapes, Sync, annotated, by_generator, fine, rows, sync
from tests.actors.policies import policy


async def async_predicate(_value: object) -> bool:
    return False


class AsyncPredicate:
    async def __call__(self, value: object) -> bool:
        return False


PREDICATES = ("failure", "ignore", "answers", "failure_result", "retry_after")


@pytest.mark.parametrize("field", PREDICATES)
@pytest.mark.parametrize(
    "predicate",
    [async_predicate, AsyncPredicate(), functools.partial(async_predicate), mock.AsyncMock(), annotated],
)
def test_an_async_predicate_is_refused(field: str, predicate: Any) -> None:
    with pytest.raises(TypeError, match=f"^{field} must be a function that isn't async, got "):
        policy(**{field: predicate})


@pytest.mark.parametrize("field", PREDICATES)
@pytest.mark.parametrize(
    "predicate",
    [lambda _value: None, sync, bool, Sync(), functools.partial(sync), mock.MagicMock(), callable],
)
def test_a_predicate_that_is_not_async_is_accepted(field: str, predicate: Any) -> None:
    if field in ("failure", "ignore", "answers") and isinstance(predicate, type):
        with pytest.raises(ValueError, match=f"{field} must be exception types or a predicate"):
            policy(**{field: predicate})
    else:
        assert getattr(policy(**{field: predicate}), field) is predicate


@pytest.mark.parametrize("probe", [sync, lambda: None, Sync(), functools.partial(sync), mock.Mock(), rows])
def test_a_probe_that_is_not_async_is_refused(probe: Any) -> None:
    with pytest.raises(TypeError, match="^probe must be an async function, got "):
        policy(probe=probe)


@pytest.mark.parametrize(
    "probe",
    [fine, Shapes().__call__, Shapes(), functools.partial(fine), mock.AsyncMock(), annotated, by_generator],
)
def test_a_probe_that_is_async_is_accepted(probe: Any) -> None:
    assert policy(probe=probe).probe is probe


@pytest.mark.parametrize("field", ["exemplar", "transition_context"])
def test_async_callbacks_of_a_panel_are_refused(field: str) -> None:
    with pytest.raises(TypeError, match=f"^{field} must be a function that isn't async, got "):
        open_panel(**{field: fine})  # type: ignore[arg-type]
