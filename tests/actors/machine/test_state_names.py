"""A State is its name in text, and a number everywhere else."""

from __future__ import annotations

import json
import pickle

import pytest

from actors import State


@pytest.mark.parametrize("state", State)
def test_a_state_formats_as_its_name(state: State) -> None:
    assert f"{state}" == str(state) == "{}".format(state) == "%s" % state == state.name  # noqa: UP031, UP032


@pytest.mark.parametrize(
    ("spec", "text"), [(">6", "  OPEN"), ("d<6", "OPENdd"), ("^6s", " OPEN "), (".2", "OP"), ("_<5", "OPEN_")]
)
def test_a_spec_for_text_lays_out_the_name(spec: str, text: str) -> None:
    assert format(State.OPEN, spec) == text


@pytest.mark.parametrize(
    ("spec", "text"), [("d", "2"), ("03d", "002"), ("+d", "+2"), ("x", "2"), ("b", "10"), (".1f", "2.0")]
)
def test_a_spec_for_numbers_lays_out_the_number(spec: str, text: str) -> None:
    assert format(State.OPEN, spec) == text


def test_a_spec_that_fits_neither_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        format(State.OPEN, "y")


def test_a_state_stays_a_number_for_programs() -> None:
    assert json.dumps({"state": State.OPEN, State.OPEN: 1}) == '{"state": 2, "2": 1}'
    assert (float(State.OPEN), "%d" % State.OPEN, State.OPEN + 1) == (2.0, "2", 3)  # noqa: UP031
    assert repr(State.OPEN) == "<State.OPEN: 2>"


def test_states_compare_and_hash_as_their_numbers_do() -> None:
    # States are compared by int's own methods, in C: every call through a breaker compares states.
    assert State.__eq__ is int.__eq__
    assert State.OPEN == 2
    assert State(2) is pickle.loads(pickle.dumps(State.OPEN)) is State.OPEN
    assert {State.OPEN: 1}[State(2)] == 1
