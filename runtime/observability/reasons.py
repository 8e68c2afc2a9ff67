"""Describes why a connection failed. Pure."""

from __future__ import annotations

import re
import ssl

_OPENSSL = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")


def reason_of(error: BaseException) -> str:
    """Return the message of the OSError or SSLError that caused an exception, else its own; never empty.

    str() of trio.BrokenResourceError is empty, and "all attempts to connect failed" is imprecise. The cause
    may be in an exception group; then the messages are joined by "; ".
    """
    return _words(error) or type(error).__name__


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(words for one in error.exceptions if (words := _words(one))))
    if isinstance(error, ssl.SSLCertVerificationError):
        # str() adds OpenSSL's name of the error and a line of Python's source.
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return _OPENSSL.sub("", error.strerror or "")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cause, context = error.__cause__, error.__context__
    if cause is not None and _is_systems(cause):
        return _words(cause) or str(error)
    behind = cause or context
    return str(error) or (_words(behind) if behind is not None else "")


def _is_systems(error: BaseException) -> bool:
    """Return whether the chain of causes ends in an OSError, which SSLError is too."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return any(_is_systems(one) for one in error.exceptions)
    return isinstance(error, OSError)
