"""Policies for the tests of this folder."""

from __future__ import annotations

from actors import CircuitBreakerConfig


def policy(**fields: object) -> CircuitBreakerConfig:
    """The default policy of a breaker "it", with these fields."""
    return CircuitBreakerConfig(name="it", **fields)  # type: ignore[arg-type]
