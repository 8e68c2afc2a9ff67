"""Errors caused by a lack of this process's own: they are no sign of the dependency's health."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Numbers of the errors for a lack of files, memory or local ports."""

# asyncio joins the errors of several addresses into the message of one OSError that has no number itself.
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def is_shortage(error: BaseException) -> bool:
    """Whether files, memory or local ports were missing: as the error, its cause, or all of its group."""
    return any(_lacks(link) for link in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the error first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _lacks(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(is_shortage(one) for one in error.exceptions)
    if not isinstance(error, OSError):
        return False
    return error.errno in SHORTAGES if error.errno is not None else describes_shortage(str(error))


def describes_shortage(message: str) -> bool:
    """Whether the message has numbers of errors, and all of them are in SHORTAGES."""
    numbers = [int(number) for number in _NUMBER.findall(message)]
    return bool(numbers) and all(number in SHORTAGES for number in numbers)
