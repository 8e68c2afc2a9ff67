"""The file of commands for all workers: what is in effect, and what is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.workers.command_log import RELOAD_POLICIES, CommandLog, commands_in_effect

SERVICE = "auth-service-http"


def steer(action: str, name: str = SERVICE) -> Mapping[str, str]:
    return {"do": "steer", "name": name, "action": action}


CHANGE = {"do": "change", "name": SERVICE, "table": {}}


@pytest.mark.parametrize(
    ("records", "left"),
    [
        ([], []),
        ([steer("force_open"), steer("trip", "other")], [0]),
        ([steer("force_open"), steer("disable")], [1]),
        ([steer("observe"), steer("trip")], []),
        ([steer("disable"), steer("reset"), steer("force_open", "other")], [2]),
        ([CHANGE, steer("force_open"), CHANGE], [0, 2, 1]),
        ([CHANGE, steer("force_open"), RELOAD_POLICIES, CHANGE], [3, 1]),
        ([CHANGE, {"do": "reload"}], []),
    ],
)
def test_commands_in_effect(records: list, left: list[int]) -> None:
    """The last lasting state of each breaker unless it has ended, and the changes since the last reload."""
    found = commands_in_effect(records)
    assert [id(one) for one in found] == [id(records[index]) for index in left]


def test_a_command_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """Another worker may still be writing it."""
    path = tmp_path / "commands"
    reader, writer = CommandLog(path), CommandLog(path)
    assert reader.read_new() == []
    writer.append({"do": "one"})
    with path.open("ab") as file:
        file.write(b'{"do": "tw')
    assert reader.read_new() == [{"do": "one"}]
    with path.open("ab") as file:
        file.write(b'o"}\n')
    assert reader.read_new() == [{"do": "two"}]
    assert reader.read_new() == []
