"""What counts as a failure of a MongoDB dependency called through pymongo."""

from __future__ import annotations

from pymongo.errors import ConnectionFailure, PyMongoError, WTimeoutError


def is_failure(error: BaseException) -> bool:
    """The ConnectionFailure tree and everything that timed out. A duplicate key is an answer."""
    if isinstance(error, ConnectionFailure | WTimeoutError):
        return True
    return isinstance(error, PyMongoError) and error.timeout
