"""One suite for both kinds of store, so that the one in memory can't drift from the real one."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from services.mongo.client import Database
from services.mongo.repository import MongoRecords, Record, Repository, Unique, UniqueViolation
from tests.world.fake_repositories import FakeRepository

UNIQUE = (Unique("roll", ("school", "roll")), Unique("email", ("email",), optional=True))


@pytest.fixture(params=["mongo", "memory"])
def store(request: pytest.FixtureRequest, database: Database) -> Repository:
    if request.param == "memory":
        return FakeRepository(UNIQUE)
    return MongoRecords(database, "things", UNIQUE, sorted_by=["school"])


def thing(roll: str = "r1", school: int = 1, email: str | None = None, **more: Any) -> Record:
    return {"roll": roll, "school": school, "email": email, **more}


async def add(store: Repository, *args: Any, **kwargs: Any) -> int:
    record = await store.create(thing(*args, **kwargs))
    assert isinstance(record, dict)
    number: int = record["id"]
    return number


async def test_a_created_record_comes_back_with_its_number(store: Repository) -> None:
    created = await store.create(thing(name="Ada"))
    assert created == {"id": 1, **thing(name="Ada")}
    assert await store.get(1) == created


async def test_what_a_caller_does_to_its_record_changes_nothing_stored(store: Repository) -> None:
    mine = thing()
    created = await store.create(mine)
    assert isinstance(created, dict)
    mine["roll"] = created["roll"] = "changed"
    kept = await store.get(1)
    assert kept is not None
    kept["roll"] = "changed"
    assert (await store.get(1)) == {"id": 1, **thing()}


async def test_there_is_nothing_under_an_unknown_number(store: Repository) -> None:
    assert await store.get(2**63 - 1) is None
    assert await store.update(7, {"roll": "x"}) is None
    assert not await store.delete(7)


async def test_a_taken_value_is_named_and_nothing_is_written(store: Repository) -> None:
    await add(store, "r1", 1, "a@x")
    assert await store.create(thing("r1", 1, "b@x")) == UniqueViolation("roll")
    assert await store.create(thing("r2", 1, "a@x")) == UniqueViolation("email")
    assert len(await store.page(10, 0)) == 1


@pytest.mark.parametrize("letter", ["\N{MATHEMATICAL SCRIPT CAPITAL X}", "\N{SNOWMAN}", "é"])
async def test_a_taken_value_of_long_letters_is_named(store: Repository, letter: str) -> None:
    """MongoDB quotes the key in its refusal, and cuts it in the middle of a letter."""
    for shift in range(4):
        value = "a" * shift + letter * 96
        await add(store, f"{value}1", email=value)
        number = await add(store, f"{value}2", email=f"{value}2")
        assert await store.create(thing(f"{value}1")) == UniqueViolation("roll")
        assert await store.create(thing(f"{value}3", email=value)) == UniqueViolation("email")
        assert await store.update(number, {"roll": f"{value}1"}) == UniqueViolation("roll")
        assert await store.update(number, {"email": value}) == UniqueViolation("email")


async def test_uniqueness_within_a_group_lets_another_group_have_the_value(store: Repository) -> None:
    await add(store, "r1", 1)
    assert await add(store, "r1", 2) > 0


async def test_records_without_an_optional_value_conflict_with_none(store: Repository) -> None:
    assert len({await add(store, f"r{n}", email=None) for n in range(3)}) == 3


async def test_a_number_is_never_used_again(store: Repository) -> None:
    first = await add(store)
    assert await store.delete(first)
    assert await add(store) > first


async def test_an_update_returns_the_whole_record_as_it_is_then(store: Repository) -> None:
    number = await add(store, name="Ada", note="kept")
    changed = await store.update(number, {"name": "Grace", "email": "g@x"})
    assert changed == {"id": number, **thing(email="g@x"), "name": "Grace", "note": "kept"}
    assert await store.get(number) == changed


async def test_an_update_to_a_taken_value_changes_nothing(store: Repository) -> None:
    await add(store, "r1", email="a@x")
    number = await add(store, "r2", email="b@x")
    assert await store.update(number, {"email": "a@x", "name": "half"}) == UniqueViolation("email")
    assert await store.update(number, {"roll": "r1"}) == UniqueViolation("roll")
    assert await store.get(number) == {"id": number, **thing("r2", email="b@x")}


async def test_an_update_may_keep_its_own_unique_values(store: Repository) -> None:
    number = await add(store, "r1", email="a@x")
    assert isinstance(await store.update(number, {"roll": "r1", "email": "a@x"}), dict)


async def test_a_deleted_records_values_are_free_again(store: Repository) -> None:
    await store.delete(await add(store, "r1", email="a@x"))
    assert isinstance(await store.create(thing("r1", email="a@x")), dict)


async def test_pages_go_up_by_number_from_behind_a_number(store: Repository) -> None:
    numbers = [await add(store, f"r{n}", school=n % 2) for n in range(6)]
    assert [r["id"] for r in await store.page(4, 0)] == numbers[:4]
    assert [r["id"] for r in await store.page(4, numbers[3])] == numbers[4:]
    assert [r["id"] for r in await store.page(2, numbers[0], {"school": 1})] == [numbers[1], numbers[3]]
    assert await store.page(4, 2**63 - 1) == []


async def test_update_all_changes_those_that_match_and_no_others(store: Repository) -> None:
    for n in range(3):
        await add(store, f"r{n}", school=n % 2, name="old")
    await store.update_all({"school": 0}, {"name": "new"})
    assert [r["name"] for r in await store.page(9, 0)] == ["new", "old", "new"]


async def test_of_racing_creates_of_one_value_exactly_one_wins(store: Repository) -> None:
    results: list[Record | UniqueViolation] = []

    async def create() -> None:
        results.append(await store.create(thing("same")))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(create)
    assert sorted(isinstance(r, dict) for r in results) == [False] * 9 + [True]
    assert [r for r in results if isinstance(r, UniqueViolation)] == [UniqueViolation("roll")] * 9
