"""Exceptions that policies name, and their outcomes by the classifier of a policy."""

from __future__ import annotations

from typing import Any

from actors import CircuitBreakerConfig, Outcome
from actors.call.classifier import Classifier

SUCCESS, FAILURE, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED


class NotFound(Exception):
    """An exception that policies call an answer."""


class UserNotFound(NotFound):
    """A subclass of an answer."""


def classify(error: BaseException, **fields: Any) -> Outcome:
    return Classifier(CircuitBreakerConfig(name="it", **fields)).exception(error)
