"""A bulkhead with a fixed number of places measures nothing."""

from __future__ import annotations

from actors.call.bulkhead import Bulkhead


async def test_a_fixed_bulkhead_keeps_its_places_whatever_calls_take() -> None:
    bulkhead = Bulkhead(2, 0, None)
    bulkhead.measure(10.0, failed=True, now=1.0)
    assert bulkhead.places == 2
