"""Says in words why a connection failed. Pure."""

from __future__ import annotations

import re
import ssl

_OPENSSL = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")


def reason_of(error: BaseException) -> str:
    """The message of an exception, else of its causes or of the exceptions in its group; never empty.

    str() of trio.BrokenResourceError is empty: the reason is that of the OSError or SSLError behind it.
    """
    return _words(error) or type(error).__name__


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(words for one in error.exceptions if (words := _words(one))))
    if isinstance(error, ssl.SSLCertVerificationError):
        # str() adds OpenSSL's name for the error and a line number of Python's source.
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        said = _OPENSSL.sub("", error.strerror or "")
    elif isinstance(error, OSError):
        said = error.strerror or str(error)
    else:
        said = str(error)
    behind = error.__cause__ or error.__context__
    return said or (_words(behind) if behind is not None else "")
