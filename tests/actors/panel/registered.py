"""The policy that most tests of a panel's names use."""

from __future__ import annotations

from actors import (
    CircuitBreakerConfig,
)

POLICY = CircuitBreakerConfig(name="it", max_failures=3)
