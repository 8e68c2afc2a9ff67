"""The copy of breakers.toml from which workers start: who starts later must not find a broken file."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.settings import GatewaySettings
from runtime.config.breakers import BadConfiguration, load_breakers

POLICIES = "breakers.toml"


def stage_policy_file(settings: GatewaySettings, folder: Path) -> None:
    """Copy breakers.toml to `folder`, if it can be used. Raises BadConfiguration."""
    given = settings.circuit_breakers
    draft = folder / f"breakers.{os.getpid()}"
    try:
        draft.write_bytes(given.read_bytes())
        # The copy is what was looked at, whatever becomes of the file meanwhile.
        load_breakers(draft, settings.circuit_breaker_profile)
    except OSError as error:
        raise BadConfiguration(given, "", f"can't be read: {error.strerror}") from error
    except BadConfiguration as error:
        raise BadConfiguration(given, error.key, error.reason) from error
    draft.replace(folder / POLICIES)
