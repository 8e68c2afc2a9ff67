"""A breakers.toml with the recommended policies; all else of the present one stays, with its comments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import InlineTable

from actors import Adaptive, FailureCount, FailureRate, LastSeconds, TripStrategy
from runtime.config.policies import Configuration
from runtime.config.policy_file import configuration_of

from .candidates import Candidate, changed_parameters


def tuned(
    text: str, recommended: Mapping[str, Candidate], path: Path, profile: str | None
) -> tuple[str, Configuration]:
    """The text of the new file, and what the stack reads in it. text: of the present file.

    Raises BadConfiguration.
    """
    document = tomlkit.parse(text)
    breakers: Any = document.setdefault("breakers", tomlkit.table(is_super_table=True))
    for name, candidate in recommended.items():
        table = breakers.setdefault(name, tomlkit.table())
        for key in ("max_failures", "trip"):
            table.pop(key, None)
        for key, value in candidate.values.items():
            table[key] = _strategy(value) if isinstance(value, TripStrategy) else value
    written = tomlkit.dumps(document)
    return written, configuration_of(written, path, profile)


def _strategy(strategy: TripStrategy) -> InlineTable:
    table = tomlkit.inline_table()
    table["kind"] = type(strategy).__name__
    if isinstance(strategy, Adaptive):
        table.update(changed_parameters(strategy))
        return table
    assert isinstance(strategy, FailureRate | FailureCount)
    window = tomlkit.inline_table()
    if isinstance(strategy.window, LastSeconds):
        window["last_seconds"] = strategy.window.s
    else:
        window["last_calls"] = strategy.window.n
    for field in strategy.__dataclass_fields__:
        table[field] = window if field == "window" else getattr(strategy, field)
    return table
