"""Optional libraries: the breaker's tests run without the libraries of the adapters."""

from __future__ import annotations

import importlib


def is_usable(module: str) -> bool:
    """Whether `module` can be imported."""
    try:
        importlib.import_module(module)
    except (ImportError, AttributeError):  # trio-asyncio on Python 3.14 fails with an AttributeError
        return False
    return True
