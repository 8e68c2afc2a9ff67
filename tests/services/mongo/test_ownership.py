"""Operations touch only the records of their owner, in the repository in memory and in the real one."""

from __future__ import annotations

import pytest

from services.mongo.client import Database, MongoDatabase
from services.mongo.ownership import DENIED, OwnedBy
from services.mongo.repository import MongoRepository, Repository, Unique
from tests.world.fake_repositories import FakeRepository

UNIQUE = (Unique("word", ("word",)),)
ADA, BOB = OwnedBy("ada"), OwnedBy("bob")


def mongo(database: Database) -> MongoRepository:
    return MongoRepository(database, "things", UNIQUE, sorted_by=["school"], pages_by_owner=True)


@pytest.fixture(params=["mongo", "memory"])
def repository(request: pytest.FixtureRequest, database: Database) -> Repository:
    return FakeRepository(UNIQUE) if request.param == "memory" else mongo(database)


async def add(repository: Repository, word: str, owner: str | None, school: int = 1) -> int:
    record = await repository.create({"word": word, "school": school}, owner)
    assert isinstance(record, dict)
    number: int = record["id"]
    return number


async def test_the_owner_is_stored_and_never_returned(repository: Repository) -> None:
    number = await add(repository, "a", "ada")
    shown = {"id": number, "word": "a", "school": 1}
    assert await repository.get(number) == shown
    assert await repository.get(number, ADA) == shown
    assert await repository.update(number, {"word": "b"}, ADA) == {**shown, "word": "b"}
    assert await repository.page(10, 0, None, ADA) == [{**shown, "word": "b"}]


async def test_another_users_record_is_denied_and_unchanged(repository: Repository) -> None:
    number = await add(repository, "a", "ada")
    assert await repository.get(number, BOB) is DENIED
    assert await repository.update(number, {"word": "b"}, BOB) is DENIED
    assert await repository.delete(number, BOB) is DENIED
    assert await repository.get(number) == {"id": number, "word": "a", "school": 1}


async def test_a_record_that_does_not_exist_is_missing_rather_than_denied(repository: Repository) -> None:
    assert await repository.get(7, BOB) is None
    assert await repository.update(7, {"word": "b"}, BOB) is None
    assert await repository.delete(7, BOB) is False


async def test_a_denied_change_to_a_taken_value_is_denied(repository: Repository) -> None:
    """A conflict would reveal the value."""
    number = await add(repository, "a", "ada")
    await add(repository, "b", "ada")
    assert await repository.update(number, {"word": "b"}, BOB) is DENIED


async def test_a_record_without_an_owner_is_found_only_if_included(repository: Repository) -> None:
    number = await add(repository, "a", None)
    assert await repository.get(number, OwnedBy("ada", or_unowned=True)) == await repository.get(number)
    assert await repository.get(number, ADA) is DENIED
    assert await repository.delete(number, ADA) is DENIED
    assert await repository.delete(number, OwnedBy("ada", or_unowned=True)) is True


async def test_pages_have_their_own_records_alone(repository: Repository) -> None:
    owners = ["ada", "bob", None, "ada", "bob", "ada", None]
    for number, owner in enumerate(owners, start=1):
        await add(repository, str(number), owner, school=number % 2)

    async def ids(limit: int, after: int, only: OwnedBy | None, school: int | None = None) -> list[int]:
        where = None if school is None else {"school": school}
        return [record["id"] for record in await repository.page(limit, after, where, only)]

    assert await ids(10, 0, None) == [1, 2, 3, 4, 5, 6, 7]
    assert await ids(10, 0, ADA) == [1, 4, 6]
    assert await ids(2, 0, OwnedBy("ada", or_unowned=True)) == [1, 3]
    assert await ids(2, 3, OwnedBy("ada", or_unowned=True)) == [4, 6]
    assert await ids(10, 0, BOB, school=1) == [5]
    assert await ids(10, 0, OwnedBy("bob", or_unowned=True), school=1) == [3, 5, 7]


async def test_a_document_of_an_earlier_release_has_no_owner(database: Database) -> None:
    await database.run(lambda db: db.things.insert_one({"_id": 1, "word": "a", "school": 1}))
    repository = mongo(database)
    everyone = OwnedBy("ada", or_unowned=True)
    assert await repository.get(1, everyone) == {"id": 1, "word": "a", "school": 1}
    assert [record["id"] for record in await repository.page(10, 0, None, everyone)] == [1]
    assert await repository.update(1, {"word": "b"}, ADA) is DENIED


@pytest.mark.parametrize("where", [{}, {"school": 1}], ids=["all", "of a school"])
async def test_a_page_reads_an_index_and_sorts_nothing(database: Database, where: dict[str, int]) -> None:
    """Also with two conditions for the owner: it merges two ordered ranges."""
    repository = mongo(database)
    for number in range(20):
        await add(repository, str(number), "ada" if number % 2 else None)

    async def explain(db: MongoDatabase) -> str:
        condition = {**where, **OwnedBy("ada", or_unowned=True).condition(), "_id": {"$gt": 3}}
        plan = await db.things.find(condition).sort("_id").limit(5).explain()
        return str(plan["queryPlanner"]["winningPlan"])

    plan = await database.run(explain)
    assert "IXSCAN" in plan
    assert "'SORT'" not in plan
