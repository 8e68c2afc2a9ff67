"""Text that others wrote, as a terminal may show it."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    r"""The text with what isn't printable as an escape (\x1b, \n, \u202e), but for the characters to keep.

    Whoever chooses a path or a reason could else colour, hide or forge lines on the screen of its reader.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
