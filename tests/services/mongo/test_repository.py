"""One suite for both kinds of repository, so that the one in memory can't drift from the real one."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from services.mongo.client import Database
from services.mongo.repository import MongoRepository, Record, Repository, Unique, UniqueViolation
from tests.world.fake_repositories import FakeRepository

UNIQUE = (Unique("roll", ("school", "roll")), Unique("email", ("email",), optional=True))


@pytest.fixture(params=["mongo", "memory"])
def repository(request: pytest.FixtureRequest, database: Database) -> Repository:
    if request.param == "memory":
        return FakeRepository(UNIQUE)
    return MongoRepository(database, "things", UNIQUE, sorted_by=["school"], pages_by_owner=True)


def thing(roll: str = "r1", school: int = 1, email: str | None = None, **more: Any) -> Record:
    return {"roll": roll, "school": school, "email": email, **more}


async def add(repository: Repository, *args: Any, **kwargs: Any) -> int:
    record = await repository.create(thing(*args, **kwargs))
    assert isinstance(record, dict)
    number: int = record["id"]
    return number


async def test_a_created_record_comes_back_with_its_number(repository: Repository) -> None:
    created = await repository.create(thing(name="Ada"))
    assert created == {"id": 1, **thing(name="Ada")}
    assert await repository.get(1) == created


async def test_a_change_of_the_callers_record_changes_nothing_stored(repository: Repository) -> None:
    mine = thing()
    created = await repository.create(mine)
    assert isinstance(created, dict)
    mine["roll"] = created["roll"] = "changed"
    kept = await repository.get(1)
    assert kept is not None
    kept["roll"] = "changed"
    assert (await repository.get(1)) == {"id": 1, **thing()}


async def test_an_unknown_number_has_no_record(repository: Repository) -> None:
    assert await repository.get(2**63 - 1) is None
    assert await repository.update(7, {"roll": "x"}) is None
    assert not await repository.delete(7)


async def test_a_taken_value_is_named_and_nothing_is_written(repository: Repository) -> None:
    await add(repository, "r1", 1, "a@x")
    assert await repository.create(thing("r1", 1, "b@x")) == UniqueViolation("roll")
    assert await repository.create(thing("r2", 1, "a@x")) == UniqueViolation("email")
    assert len(await repository.page(10, 0)) == 1


@pytest.mark.parametrize("letter", ["\N{MATHEMATICAL SCRIPT CAPITAL X}", "\N{SNOWMAN}", "é"])
async def test_a_taken_value_of_multi_byte_letters_is_named(repository: Repository, letter: str) -> None:
    """MongoDB quotes the key in its error, and cuts it within a letter."""
    for shift in range(4):
        value = "a" * shift + letter * 96
        await add(repository, f"{value}1", email=value)
        number = await add(repository, f"{value}2", email=f"{value}2")
        assert await repository.create(thing(f"{value}1")) == UniqueViolation("roll")
        assert await repository.create(thing(f"{value}3", email=value)) == UniqueViolation("email")
        assert await repository.update(number, {"roll": f"{value}1"}) == UniqueViolation("roll")
        assert await repository.update(number, {"email": value}) == UniqueViolation("email")


async def test_uniqueness_within_a_group_lets_another_group_have_the_value(repository: Repository) -> None:
    await add(repository, "r1", 1)
    assert await add(repository, "r1", 2) > 0


async def test_records_without_an_optional_value_conflict_with_none(repository: Repository) -> None:
    assert len({await add(repository, f"r{n}", email=None) for n in range(3)}) == 3


async def test_a_number_is_never_used_again(repository: Repository) -> None:
    first = await add(repository)
    assert await repository.delete(first)
    assert await add(repository) > first


async def test_an_update_returns_the_whole_record_as_it_is_then(repository: Repository) -> None:
    number = await add(repository, name="Ada", note="kept")
    changed = await repository.update(number, {"name": "Grace", "email": "g@x"})
    assert changed == {"id": number, **thing(email="g@x"), "name": "Grace", "note": "kept"}
    assert await repository.get(number) == changed


async def test_an_update_to_a_taken_value_changes_nothing(repository: Repository) -> None:
    await add(repository, "r1", email="a@x")
    number = await add(repository, "r2", email="b@x")
    assert await repository.update(number, {"email": "a@x", "name": "half"}) == UniqueViolation("email")
    assert await repository.update(number, {"roll": "r1"}) == UniqueViolation("roll")
    assert await repository.get(number) == {"id": number, **thing("r2", email="b@x")}


async def test_an_update_may_keep_its_own_unique_values(repository: Repository) -> None:
    number = await add(repository, "r1", email="a@x")
    assert isinstance(await repository.update(number, {"roll": "r1", "email": "a@x"}), dict)


async def test_a_deleted_records_values_are_free_again(repository: Repository) -> None:
    await repository.delete(await add(repository, "r1", email="a@x"))
    assert isinstance(await repository.create(thing("r1", email="a@x")), dict)


async def test_pages_go_up_by_number_from_behind_a_number(repository: Repository) -> None:
    numbers = [await add(repository, f"r{n}", school=n % 2) for n in range(6)]
    assert [r["id"] for r in await repository.page(4, 0)] == numbers[:4]
    assert [r["id"] for r in await repository.page(4, numbers[3])] == numbers[4:]
    assert [r["id"] for r in await repository.page(2, numbers[0], {"school": 1})] == [numbers[1], numbers[3]]
    assert await repository.page(4, 2**63 - 1) == []


async def test_update_all_changes_those_that_match_and_no_others(repository: Repository) -> None:
    for n in range(3):
        await add(repository, f"r{n}", school=n % 2, name="old")
    await repository.update_all({"school": 0}, {"name": "new"})
    assert [r["name"] for r in await repository.page(9, 0)] == ["new", "old", "new"]


async def test_of_racing_creates_of_one_value_exactly_one_wins(repository: Repository) -> None:
    results: list[Record | UniqueViolation] = []

    async def create() -> None:
        results.append(await repository.create(thing("same")))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(create)
    assert sorted(isinstance(r, dict) for r in results) == [False] * 9 + [True]
    assert [r for r in results if isinstance(r, UniqueViolation)] == [UniqueViolation("roll")] * 9
