"""Makes untrusted text safe for a terminal."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    r"""Return the text with unprintable characters as escapes (\x1b, \n, \u202e), except those in `keep`.

    Otherwise the author of a path or a reason could colour, hide or forge lines on a reader's terminal.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
