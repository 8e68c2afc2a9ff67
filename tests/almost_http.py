"""Almost valid HTTP messages, for tests that compare two parsers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def almost(
    chance: Random,
    line: Sequence[bytes],
    fields: Sequence[bytes],
    bodies: Sequence[bytes],
    scraps: Sequence[bytes],
) -> bytes:
    """A message with at most three errors.

    line: the parts of its first line. scraps: bytes that may be inserted anywhere, as may fields.
    """
    anything = [*scraps, *fields]
    parts = [*line, *chance.choices(fields, k=chance.randint(0, 2)), b"\r\n"]
    parts += chance.choices(bodies, k=chance.randint(0, 3))
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(parts))
        kind = chance.random()
        if kind < 0.4:
            parts.insert(at, chance.choice(anything))
        elif kind < 0.7:
            parts[at] = chance.choice(anything)
        elif parts[at]:
            byte = chance.randrange(len(parts[at]))
            parts[at] = parts[at][:byte] + chance.choice(scraps) + parts[at][byte + 1 :]
    return b"".join(parts)
