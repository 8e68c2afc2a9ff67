"""The rights of users and admins on students."""

from __future__ import annotations

import pytest

from actors import Panel
from services.mongo.dependency import database_dependency
from services.student.app import REJECTION_MESSAGE, create_app
from services.student.schemas import UNIQUE
from services.student.school_client import SchoolCheck
from services.student.students import Students
from tests.services.api_client import ApiResponse, Caller
from tests.services.student.test_app import ADA, DATABASE, GRPC, NOON, ScriptedSchools
from tests.tokens import Issuer
from tests.world.fake_repositories import FakeRepository


class People:
    """Ada and Bob are users, and root is an admin."""

    def __init__(self, panel: Panel, issuer: Issuer) -> None:
        self.repository, self.schools = FakeRepository(UNIQUE), ScriptedSchools()
        dependency = database_dependency(panel, DATABASE, REJECTION_MESSAGE)
        check = SchoolCheck(self.schools, panel, GRPC)
        students = Students(self.repository, dependency, check, lambda: NOON)
        app = create_app(students, panel=panel, keys=issuer.keys)
        self.ada = Caller(app, issuer.headers(user_id="a" * 24))
        self.bob = Caller(app, issuer.headers(user_id="b" * 24))
        self.root = Caller(app, issuer.headers("admin", user_id="c" * 24))

    async def add(self, caller: Caller, roll: str, school: int = 1) -> int:
        answer = await caller("POST", "/students", {**ADA, "roll_number": roll, "school_id": school})
        assert answer.status == 201
        return int(answer.data["id"])

    async def add_without_owner(self, roll: str) -> int:
        number = await self.add(self.root, roll)
        del self.repository.owners[number]
        return number


@pytest.fixture
def people(panel: Panel, issuer: Issuer) -> People:
    return People(panel, issuer)


def outcome(answer: ApiResponse) -> tuple[int, str]:
    return answer.status, str(answer.body.get("error", ""))


FORBIDDEN = (403, "FORBIDDEN")


async def test_a_creator_reads_changes_and_deletes_its_student(people: People) -> None:
    number = await people.add(people.ada, "1")
    assert (await people.ada("GET", f"/students/{number}")).status == 200
    assert (await people.ada("PUT", f"/students/{number}", {"status": "left"})).data["status"] == "left"
    assert (await people.ada("DELETE", f"/students/{number}")).status == 200


async def test_another_user_is_forbidden_everything(people: People) -> None:
    number = await people.add(people.ada, "1")
    for method, body in (
        ("GET", None),
        ("PUT", {"status": "x"}),
        ("PUT", {"school_id": 2}),
        ("DELETE", None),
    ):
        assert outcome(await people.bob(method, f"/students/{number}", body)) == FORBIDDEN
    assert people.repository.records[number]["status"] == "active"


async def test_a_forbidden_move_does_not_ask_the_school_service(people: People) -> None:
    number = await people.add(people.ada, "1")
    before = people.schools.faults.operations
    assert outcome(await people.bob("PUT", f"/students/{number}", {"school_id": 9})) == FORBIDDEN
    assert people.schools.faults.operations == before


async def test_an_admin_does_everything(people: People) -> None:
    number = await people.add(people.ada, "1")
    assert (await people.root("GET", f"/students/{number}")).status == 200
    assert (await people.root("PUT", f"/students/{number}", {"school_id": 2})).data["school_name"] == "South"
    assert (await people.root("DELETE", f"/students/{number}")).status == 200


async def test_a_student_without_an_owner_is_read_by_everyone_and_changed_by_admins(people: People) -> None:
    number = await people.add_without_owner("1")
    for someone in (people.ada, people.bob):
        assert (await someone("GET", f"/students/{number}")).status == 200
        assert outcome(await someone("PUT", f"/students/{number}", {"status": "x"})) == FORBIDDEN
        assert outcome(await someone("PUT", f"/students/{number}", {"school_id": 2})) == FORBIDDEN
        assert outcome(await someone("DELETE", f"/students/{number}")) == FORBIDDEN
    assert (await people.root("PUT", f"/students/{number}", {"status": "x"})).status == 200


async def ids(caller: Caller, path: str) -> list[list[int]]:
    """The ids of each page, from `path` on."""
    pages = []
    while path:
        answer = await caller("GET", path)
        assert answer.status == 200
        pages.append([student["id"] for student in answer.data])
        path = answer.body.get("next", "")
    return pages


async def test_lists_show_what_their_reader_may_read_in_full_pages(people: People) -> None:
    ada, bob = people.ada, people.bob
    for number, owner in enumerate([ada, bob, bob, ada, None, ada, bob], start=1):
        if owner is None:
            assert await people.add_without_owner(str(number)) == number
        else:
            assert await people.add(owner, str(number), school=1 + number % 2) == number
    assert await ids(ada, "/students?limit=2") == [[1, 4], [5, 6]]
    assert await ids(bob, "/students?limit=2") == [[2, 3], [5, 7]]
    assert await ids(people.root, "/students?limit=4") == [[1, 2, 3, 4], [5, 6, 7]]
    assert await ids(ada, "/students/school/1?limit=1") == [[4], [5], [6]]
    assert await ids(bob, "/students/school/2?limit=1") == [[3], [7]]
    people.schools.break_down()
    assert await ids(ada, "/students/school/1?limit=5") == [[4, 5, 6]]


async def test_the_body_sets_no_owner(people: People) -> None:
    answer = await people.ada("POST", "/students", {**ADA, "owner": "b" * 24})
    assert "owner" not in answer.data
    assert (await people.ada("PUT", "/students/1", {**answer.data, "owner": "b" * 24})).status == 200
    assert outcome(await people.bob("GET", "/students/1")) == FORBIDDEN


async def test_a_missing_student_is_404_for_everyone(people: People) -> None:
    for someone in (people.ada, people.root):
        for method, body in (("GET", None), ("PUT", {"status": "x"}), ("DELETE", None)):
            assert outcome(await someone(method, "/students/9", body)) == (404, "STUDENT_NOT_FOUND")
