"""The workers' own copy of breakers.toml: a worker that starts later must not find a broken file."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.settings import GatewaySettings
from runtime.config.policies import BadConfiguration, Problem
from runtime.config.policy_file import load_breakers

POLICY_FILE = "breakers.toml"


def stage_policy_file(settings: GatewaySettings, folder: Path) -> None:
    """Copy breakers.toml to `folder` if it is valid. Raises BadConfiguration, and then changes nothing."""
    source = settings.circuit_breakers
    draft = folder / f"breakers.{os.getpid()}"
    try:
        draft.write_bytes(source.read_bytes())
        # The copy is validated, not the source, which may change in between.
        load_breakers(draft, settings.circuit_breaker_profile)
    except OSError as error:
        raise BadConfiguration(source, Problem("", f"can't be read: {error.strerror}")) from error
    except BadConfiguration as error:
        raise BadConfiguration(source, *error.problems) from error
    draft.replace(folder / POLICY_FILE)
