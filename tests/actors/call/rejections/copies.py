"""Copies of errors, and the facts by which two errors are compared."""

from __future__ import annotations

import pickle
from typing import Any


def pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


def facts(error: BaseException) -> tuple[object, ...]:
    names = ("name", "state", "retry_after", "reason", "waits_for", "last_failure", "open_for", "timeout")
    return (type(error), str(error), repr(error), *(getattr(error, name, None) for name in names))
