"""The rights of users and admins on schools."""

from __future__ import annotations

import pytest

from actors import Panel
from services.mongo.dependency import database_dependency
from services.school.app import REJECTION_MESSAGE, create_app
from services.school.schemas import UNIQUE
from tests.services.api_client import ApiResponse, Caller
from tests.services.school.test_app import CONFIG, SCHOOL
from tests.tokens import Issuer
from tests.world.fake_repositories import FakeRepository


class People:
    """Ada and Bob are users, and root is an admin."""

    def __init__(self, panel: Panel, issuer: Issuer) -> None:
        self.repository = FakeRepository(UNIQUE)
        dependency = database_dependency(panel, CONFIG, REJECTION_MESSAGE)
        app = create_app(repository=self.repository, database=dependency, panel=panel, keys=issuer.keys)
        self.ada = Caller(app, issuer.headers(user_id="a" * 24))
        self.bob = Caller(app, issuer.headers(user_id="b" * 24))
        self.root = Caller(app, issuer.headers("admin", user_id="c" * 24))
        self.odd = Caller(app, issuer.headers("Admin", user_id="d" * 24))


@pytest.fixture
def people(panel: Panel, issuer: Issuer) -> People:
    return People(panel, issuer)


def outcome(answer: ApiResponse) -> tuple[int, str]:
    return answer.status, str(answer.body.get("error", ""))


async def test_a_creator_changes_and_deletes_its_school(people: People) -> None:
    assert (await people.ada("POST", "/schools", SCHOOL)).status == 201
    assert (await people.ada("PUT", "/schools/1", {"name": "South"})).data["name"] == "South"
    assert (await people.ada("DELETE", "/schools/1")).status == 200


async def test_another_user_reads_a_school_and_changes_nothing(people: People) -> None:
    created = (await people.ada("POST", "/schools", SCHOOL)).data
    assert (await people.bob("GET", "/schools/1")).data == created
    assert (await people.bob("GET", "/schools")).data == [created]
    for other in (people.bob, people.odd):
        assert outcome(await other("PUT", "/schools/1", {"name": "South"})) == (403, "FORBIDDEN")
        assert outcome(await other("DELETE", "/schools/1")) == (403, "FORBIDDEN")
    assert (await people.ada("GET", "/schools/1")).data == created


async def test_an_admin_changes_and_deletes_every_school(people: People) -> None:
    await people.ada("POST", "/schools", SCHOOL)
    assert (await people.root("PUT", "/schools/1", {"name": "South"})).status == 200
    assert (await people.root("DELETE", "/schools/1")).status == 200


async def test_a_school_without_an_owner_is_changed_by_admins_alone(people: People) -> None:
    await people.repository.create({**SCHOOL, "address": None, "phone": None})
    assert (await people.ada("GET", "/schools/1")).status == 200
    assert outcome(await people.ada("PUT", "/schools/1", {"name": "x"})) == (403, "FORBIDDEN")
    assert outcome(await people.ada("DELETE", "/schools/1")) == (403, "FORBIDDEN")
    assert (await people.root("PUT", "/schools/1", {"name": "x"})).status == 200


async def test_the_body_sets_no_owner(people: People) -> None:
    answer = await people.ada("POST", "/schools", {**SCHOOL, "owner": "b" * 24})
    assert "owner" not in answer.data
    assert (await people.ada("PUT", "/schools/1", {"owner": "b" * 24})).status == 200
    assert outcome(await people.bob("DELETE", "/schools/1")) == (403, "FORBIDDEN")
    assert people.repository.owners == {1: "a" * 24}


async def test_a_missing_school_is_404_for_everyone(people: People) -> None:
    for someone in (people.ada, people.root):
        assert outcome(await someone("PUT", "/schools/9", {"name": "x"})) == (404, "SCHOOL_NOT_FOUND")
        assert outcome(await someone("DELETE", "/schools/9")) == (404, "SCHOOL_NOT_FOUND")
