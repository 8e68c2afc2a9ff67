"""The characters that text from clients may have. Pure."""

from __future__ import annotations

import unicodedata

_REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Controls (NUL among them), format characters (bidirectional controls, zero-width spaces, soft hyphens),
halves of surrogate pairs, line and paragraph separators."""
_LINE_BREAKS = frozenset("\t\n\r")
_INVISIBLE = frozenset(
    (
        "\u034f",  # combining grapheme joiner
        *("\u115f", "\u1160", "\u3164", "\uffa0"),  # Hangul fillers
        *("\u17b4", "\u17b5"),  # Khmer inherent vowels
        "\u2065",
        "\u2800",  # Braille pattern blank
    )
)
"""Characters that are drawn as nothing although their category is that of letters, marks or symbols."""


def plain_line(value: str) -> str:
    """`value`. Raises ValueError for a control, bidirectional or invisible character, or a line break.

    Such text looks like other text, reverses what stands behind it, or ends early for some readers.
    """
    for letter in value:
        if letter in _INVISIBLE or unicodedata.category(letter) in _REFUSED_CATEGORIES:
            raise ValueError(f"must not have control or invisible characters (U+{ord(letter):04X})")
    return value


def plain_text(value: str) -> str:
    """`value`. Raises ValueError as `plain_line` does, but accepts line breaks and tabs."""
    plain_line(value.translate(dict.fromkeys(map(ord, _LINE_BREAKS))))
    return value
