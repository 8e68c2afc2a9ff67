"""How the classifier of a policy counts an exception, and exceptions that policies name."""

from __future__ import annotations

from typing import Any

from actors import CircuitBreakerConfig, Outcome
from actors.call.classifier import Classifier

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


class NotFound(Exception):
    """An answer."""


class UserNotFound(NotFound):
    """Another one."""


def classify(error: BaseException, **fields: Any) -> Outcome:
    return Classifier(CircuitBreakerConfig(name="it", **fields)).exception(error)
