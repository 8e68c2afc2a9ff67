"""Hides secrets in text for logs, spans and terminals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

MASK = "***"

_SECRET_WORDS = ("password", "token", "secret", "authorization", "email", "cookie")
# Access tokens and refresh tokens, also inside a word. A run without a dot is matched whole and kept, so that
# no search begins in it again.
_TOKENS = re.compile(r"eyJ[\w-]{8,}[\w.-]*|[0-9a-f]{32}\.[\w-]{43}")
_SHORTEST_TOKEN = 60
# The text around an @, escaped or not: an address, or a URI's credentials. Normalisation turns U+FF20 and
# U+FE6B into an @.
_ADDRESSES = re.compile(
    r"""(?:"[^"@/\\]{1,64}\\?"|(?<![^\s@\uff20\ufe6b/"'<>])[^\s@\uff20\ufe6b/"'<>]+)"""
    r"""(?:[@\uff20\ufe6b]|%(?:25)*40)[^\s/"'<>,?}]+""",
    re.IGNORECASE,
)
_SLASH = re.compile("%2f", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""Characters. A shorter secret is a common word: hiding it would garble the log and protect nothing."""
_PATH_LENGTH = 200


class _Hidden:
    """Values that `redact` hides wherever they occur. For the whole process, as logging is."""

    values: tuple[str, ...] = ()


def hide_values(secrets: Iterable[str]) -> None:
    """Set the values that `redact` hides wherever they occur; those shorter than 8 characters are skipped."""
    long = [one for one in secrets if len(one) >= _SHORTEST_SECRET]
    _Hidden.values = tuple({form for one in long for form in (one, one.replace("/", "%2F"))})


def redact(text: str) -> str:
    """Replace this process's secrets and anything shaped like a token, an address or credentials by ***."""
    for value in _Hidden.values:
        if value in text:
            text = text.replace(value, MASK)
    if "@" in text or "%" in text or not text.isascii():
        text = _ADDRESSES.sub(MASK, text)
    return _TOKENS.sub(_without_token, text) if len(text) >= _SHORTEST_TOKEN else text


def _without_token(found: re.Match[str]) -> str:
    return MASK if "." in found[0] else found[0]


@lru_cache(maxsize=1024)
def names_secret(key: str) -> bool:
    """Return whether a log field of this name holds a secret."""
    return any(word in key.lower() for word in _SECRET_WORDS)


def loggable_path(scope: Mapping[str, Any]) -> str:
    """Return an ASGI request's path for a log or a span: without the query, at most 200 characters.

    An escaped slash stays escaped: the text before it belongs to the same name, and is redacted with it.
    """
    path: str = scope["path"]
    if "/" in path[1:] and b"%2" in (raw := scope.get("raw_path") or b""):
        path = unquote(_SLASH.sub("%252F", raw.decode("latin-1")))
    # Redacted before it is cut: part of a secret has no recognisable shape.
    return path if len(path) <= _PATH_LENGTH else redact(path)[:_PATH_LENGTH]
