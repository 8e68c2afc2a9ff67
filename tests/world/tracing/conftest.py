"""Fixtures of the tests of tracing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.spans import Seen, recorded


@pytest.fixture
def seen() -> Iterator[Seen]:
    with recorded() as spans:
        yield spans
