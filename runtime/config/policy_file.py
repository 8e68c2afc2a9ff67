"""Reads breakers.toml, the policies of the stack's breakers.

    profile = "default"                    # or "dev", "prod"; CIRCUIT_BREAKER_PROFILE overrides it

    [breakers.auth-database]
    type = "database"                      # of the guarded service; values outside its ranges cause a warning
    max_failures = 6                       # any key of CircuitBreakerConfig that isn't code
    backoff = { factor = 2.0, maximum = 300.0 }
    trip = { kind = "FailureRate", rate = 0.5, window = { last_seconds = 30 }, minimum_calls = 20 }
    probe = { kind = "ping" }              # or "grpc.health", or "http" with a path; read at start only
    probe_interval = 5.0

    [breakers.auth-service-http.routes]    # for fair probes; read at start only
    login = ["POST /auth/login"]

    [sharing]
    quorum = 2

A breaker's own key replaces the profile's value, and the profile's value the default. Times are seconds.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import structlog

from actors import CircuitBreakerConfig
from protocols.topology import BREAKERS
from runtime.config.policies import BadConfiguration, Configuration, Problem
from runtime.config.policy_reader import read
from runtime.config.problems import TOO_DEEP

_first_read: dict[Path, Configuration] = {}
"""By file, its contents when this process first read it."""


def load_breakers(path: Path, profile: str | None) -> dict[str, CircuitBreakerConfig]:
    """Return the policy of every breaker by name, without probes. Like `load_policies` otherwise."""
    return load_policies(path, profile).breakers


def load_policies(path: Path, profile: str | None) -> Configuration:
    """Read and check the file, and log its warnings. Raises BadConfiguration.

    profile: overrides the file's; None: the file's.
    """
    found = load_configuration(path, profile)
    _log_warnings(found, path)
    return found


def _log_warnings(found: Configuration, path: Path) -> None:
    """Log unusual values, and probes or routes that differ from those at the first read."""
    log = structlog.get_logger()
    if changed := _changed_breakers(found, _first_read.get(path, found)):
        log.warning("probes and routes take effect at the next start", file=str(path), breakers=changed)
    for warning in found.warnings:
        log.warning(warning, file=str(path), profile=found.profile)


def load_configuration(path: Path, profile: str | None) -> Configuration:
    """Read and check the file without logging anything. Raises BadConfiguration."""
    return configuration_of(read_text(path), path, profile)


def configuration_of(text: str, path: Path, profile: str | None) -> Configuration:
    """Check the text of the file at `path`, which isn't read. Raises BadConfiguration."""
    try:
        found = read(_parse(text, path), path, profile)
    except RecursionError as error:
        raise BadConfiguration(path, TOO_DEEP) from error
    _first_read.setdefault(path, found)
    return found


def _changed_breakers(found: Configuration, first: Configuration) -> list[str]:
    """Return the breakers whose probes, routes or order of routes have changed."""

    def at_start(of: Configuration, name: str) -> object:
        return of.probes.get(name), list(of.routes.get(name, {}).items())

    return [name for name in BREAKERS if at_start(found, name) != at_start(first, name)]


def read_text(path: Path) -> str:
    """Return the text of the file. Raises BadConfiguration if it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadConfiguration(path, Problem("", f"not TOML: {error}")) from error
    except OSError as error:
        raise BadConfiguration(path, Problem("", f"can't be read: {error.strerror}")) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # not TOML, or a number of thousands of digits
        raise BadConfiguration(path, Problem("", f"not TOML: {error}")) from error
