"""Every failure has a reason in words."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import httpx
import pytest
import trio

from runtime.observability.reasons import reason_of


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def verification(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: X] certificate verify failed: {message} (_ssl.c:1006)")
    error.verify_message = message
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("said"), "said"),
        (REFUSED, "Connection refused"),
        (OSError("said"), "said"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (caused(trio.BrokenResourceError(), REFUSED), "Connection refused"),
        (caused(httpx.ConnectError(""), caused(trio.BrokenResourceError(), REFUSED)), "Connection refused"),
        (verification("self-signed certificate"), "certificate verify failed: self-signed certificate"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:9)"),
            "wrong version number",
        ),
        (
            caused(OSError(), ExceptionGroup("all failed", [REFUSED, OSError("b"), REFUSED])),
            "Connection refused; b",
        ),
        (
            caused(OSError("all attempts to connect to it:1 failed"), ExceptionGroup("all", [REFUSED])),
            "Connection refused",
        ),
        (
            caused(httpx.ConnectError("All connection attempts failed"), caused(OSError("all"), REFUSED)),
            "Connection refused",
        ),
        (trio.BrokenResourceError(), "BrokenResourceError"),
        (ExceptionGroup("all failed", [OSError()]), "ExceptionGroup"),
    ],
)
def test_a_reason_is_the_first_text_of_the_exception_and_its_causes(error: Exception, words: str) -> None:
    """Without any text it is the type's name."""
    assert reason_of(error) == words
