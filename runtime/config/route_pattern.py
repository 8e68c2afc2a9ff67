"""Patterns of breakers.toml that group requests into routes, one kind of call to a dependency each."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([A-Z]+) ((?:/(?:\*|[^\s*?#/]*))+)")


@dataclass(frozen=True, slots=True)
class RoutePattern:
    """A method, and a path in which the segment `*` matches any segment that isn't empty."""

    method: str
    path: str

    @classmethod
    def parse(cls, text: object) -> RoutePattern:
        """Parse a pattern such as 'GET /users/*'. Raises ValueError."""
        form = _FORM.fullmatch(text) if isinstance(text, str) else None
        if form is None:
            raise ValueError(f"must be such as 'GET /users/*', got {text!r}")
        return cls(form[1], form[2])

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request matches. path: as sent, without the query."""
        if method != self.method:
            return False
        wanted, given = self.path.split("/"), path.split("/")
        return len(wanted) == len(given) and all(
            (one != "" if pattern == "*" else one == pattern)
            for pattern, one in zip(wanted, given, strict=True)
        )
