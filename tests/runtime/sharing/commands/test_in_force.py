"""Which commands are in force: rules by example."""

from __future__ import annotations

import math

import pytest

from runtime.sharing.commands.command import Command
from runtime.sharing.commands.in_force import PENDING, CommandInForce, CommandsInForce


def command(number: str, do: str, *keys: str) -> Command:
    return Command(
        id=number,
        do=do,
        who="o",
        reason="",
        request_id="",
        unix_time=0.0,
        breaker="" if do == "reload" else "one",
        changes=dict.fromkeys(keys, 1),
    )


def state(known: CommandsInForce, now: float = 0.0) -> tuple[list[str], list[str]]:
    """The ids of the holds, and of the changes with their keys."""
    holds = [entry.command.id for entry in known.holds(now).values()]
    changes = known.changes(now).get("one", [])
    return holds, [f"{one.id}:{','.join(one.changes)}" for one in changes]


@pytest.mark.parametrize(
    ("given", "holds", "changes"),
    [
        (["force_open"], ["0"], []),
        (["force_open", "disable"], ["1"], []),
        (["force_open", "reset"], [], []),
        (["observe", "trip"], [], []),
        (["configure x y"], [], ["0:x,y"]),
        (["configure x y", "configure y z"], [], ["0:x", "1:y,z"]),
        (["configure x", "force_open", "reload", "configure y"], ["1"], ["3:y"]),
        (["configure x", "reset"], [], ["0:x"]),
        (["reload"], [], []),
    ],
)
@pytest.mark.parametrize("way", ["in order", "backwards", "twice", "given here"])
def test_the_newest_command_of_each_slot_is_in_force(
    given: list[str], holds: list[str], changes: list[str], way: str
) -> None:
    """The order in which they arrive doesn't matter."""
    known = CommandsInForce()
    commands = [(command(str(n), *one.split()), n + 1) for n, one in enumerate(given)]
    if way == "given here":
        for one, _ in commands:
            known.put(one, math.inf)
    else:
        heard = commands[::-1] if way == "backwards" else commands * (2 if way == "twice" else 1)
        for one, version in heard:
            for slot in one.slots():
                known.merge(slot, CommandInForce(one, version))
    assert state(known) == (holds, changes)


def test_an_expired_command_is_not_in_force_and_lets_no_older_one_back() -> None:
    known = CommandsInForce()
    old, new = command("old", "disable"), command("new", "force_open")
    known.merge("hold:one", CommandInForce(new, 5, until=10.0))
    assert (known.next_expiry(0.0), state(known, 9.9)) == (10.0, (["new"], []))
    assert (known.next_expiry(10.0), state(known, 10.0)) == (math.inf, ([], []))
    assert not known.merge("hold:one", CommandInForce(old, 4))
    assert state(known, 10.0) == ([], [])


@pytest.mark.parametrize("accepted", [True, False])
def test_a_pending_command_is_newest_until_the_store_has_judged_it(accepted: bool) -> None:
    known = CommandsInForce()
    mine, theirs = command("mine", "disable"), command("theirs", "force_open")
    known.put(mine, math.inf)
    assert not known.merge("hold:one", CommandInForce(theirs, 7))
    known.settle(mine, 5, frozenset(mine.slots() if accepted else ()))
    if accepted:
        assert not known.merge("hold:one", CommandInForce(theirs, 4))
    assert known.merge("hold:one", CommandInForce(theirs, 6))


def test_a_reload_of_another_instance_keeps_changes_that_are_pending_here() -> None:
    """The store judges them by their age."""
    known = CommandsInForce()
    known.merge("policy:one:x", CommandInForce(command("a", "configure", "x"), 3))
    known.put(command("b", "configure", "y"), math.inf)
    known.merge("policies", CommandInForce(command("r", "reload"), 4))
    assert state(known) == ([], ["b:y"])
    assert not known.merge("policy:one:x", CommandInForce(command("a", "configure", "x"), 3))


def test_a_reload_given_here_lifts_all_changes() -> None:
    known = CommandsInForce()
    known.put(command("a", "configure", "x"), math.inf)
    known.merge("policy:one:y", CommandInForce(command("b", "configure", "y"), 9))
    known.put(command("r", "reload"), math.inf)
    assert state(known) == ([], [])
    assert [(slot, entry.version) for slot, entry in known.entries()] == [("policies", PENDING)]


def test_a_command_survives_its_way_as_json() -> None:
    one = command("x|y\n", "configure", "trip")
    assert Command.from_json(one.to_json()) == one
