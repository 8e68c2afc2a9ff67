"""One user tries everything on another one's records, by every method: nothing is shown, nothing changes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.security.attacked_stack import AttackedStack
from tests.security.operations import operations

CHANGES: dict[str, Any] = {
    "schools": {"name": "Taken over", "owner": "me", "created_by": "me", "id": 1},
    "students": {"first_name": "Taken", "owner": "me", "school_id": 1},
}
OTHER_METHODS = ("PATCH", "POST", "OPTIONS", "TRACE", "PROPFIND", "MOVE")


@pytest.fixture(scope="module")
def victims(attacked: AttackedStack) -> dict[str, int]:
    """The ids of Ben's school and of his student in it, by the name of the collection."""
    school = attacked.new_school(attacked.ben)
    return {"schools": school, "students": attacked.new_student(attacked.ben, school)}


def stored(attacked: AttackedStack, kind: str, number: int) -> Any:
    return attacked.stack.client.get(f"/{kind}/{number}", headers=attacked.ben.bearer).json()


@pytest.mark.parametrize("kind", ["schools", "students"])
@pytest.mark.parametrize("process", ["api-gateway", "service"])
def test_every_change_of_another_users_record_is_403(
    attacked: AttackedStack, victims: dict[str, int], process: str, kind: str
) -> None:
    """Through the gateway, and at the service's own port."""
    service = f"{kind.removesuffix('s')}-service"
    url, document = attacked.documents()[process if process == "api-gateway" else service]
    path, before = f"/{kind}/{victims[kind]}", stored(attacked, kind, victims[kind])
    documented = document["paths"][f"/{kind}/{{number}}"]
    with attacked.client(url) as client:
        reading = client.get(path, headers=attacked.ann.bearer)
        answers = {
            "put": client.put(path, headers=attacked.ann.bearer, json=CHANGES[kind]),
            "delete": client.delete(path, headers=attacked.ann.bearer),
            **({"get": reading} if kind == "students" else {}),
        }
        for method, answer in answers.items():
            assert (answer.status_code, answer.json()["error"]) == (403, "FORBIDDEN"), method
            assert "403" in documented[method]["responses"]
            assert set(answer.json()) == {"error", "message"}
        for method in OTHER_METHODS:
            answer = client.request(method, path, headers=attacked.ann.bearer, json=CHANGES[kind])
            assert answer.status_code in (204, 405, 501), method
    assert stored(attacked, kind, victims[kind]) == before


def test_no_spelling_or_field_gives_another_users_rights(
    attacked: AttackedStack, victims: dict[str, int]
) -> None:
    number = victims["students"]
    before = stored(attacked, "students", number)
    fields = (
        {"X-User-Id": "0" * 24},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Original-URL": "/admin/breakers"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Cookie": attacked.ben.bearer["Authorization"]},
        {"X-Forwarded-User": attacked.ben.email},
    )
    with attacked.client() as client:
        for more in fields:
            for method in ("GET", "PUT", "DELETE"):
                headers = {**attacked.ann.bearer, **more}
                answer = client.request(method, f"/students/{number}", headers=headers, json={})
                assert answer.status_code == 403, (more, method)
        two = [("Authorization", attacked.ann.bearer["Authorization"])]
        two.append(("Authorization", attacked.ben.bearer["Authorization"]))
        answer = client.get(f"/students/{number}", headers=httpx.Headers(two))
        assert answer.status_code == 401
        for spelling in (f"0{number}", f"{number}.0", f"%3{number}", f"+{number}", f"{number}%20"):
            answer = client.delete(f"/students/{spelling}", headers=attacked.ann.bearer)
            assert answer.status_code in (400, 403, 404), spelling
    assert stored(attacked, "students", number) == before


def test_lists_show_no_students_of_others(attacked: AttackedStack, victims: dict[str, int]) -> None:
    for path in ("/students", f"/students/school/{victims['schools']}", "/students?after=0&limit=1000"):
        answer = attacked.stack.client.get(path, headers=attacked.ann.bearer)
        assert answer.status_code == 200
        assert victims["students"] not in [one["id"] for one in answer.json()["data"]]


def test_a_user_is_no_admin_at_any_process(attacked: AttackedStack) -> None:
    """A role in the request of a sign-up changes nothing."""
    person = {"email": "mallory@school.test", "password": "pass-phrase", "first_name": "M", "last_name": "L"}
    with attacked.client() as client:
        made = client.post("/auth/signup", json={**person, "role": "admin"}, headers=attacked.ann.bearer)
        assert made.json()["data"]["role"] == "user"
        login = client.post("/auth/login", json={key: person[key] for key in ("email", "password")})
        bearer = {"Authorization": f"Bearer {login.json()['data']['access_token']}"}
        attacked.secrets.add(bearer["Authorization"][-24:])
        admin_calls = [one for one in operations(attacked.documents()) if "/admin/" in one.path]
        assert len(admin_calls) == 5
        for operation in admin_calls:
            answer = client.request(operation.method, operation.target(), headers=bearer, json={})
            assert answer.status_code == 403, str(operation)


def test_a_token_of_another_login_cannot_be_used_to_end_it(attacked: AttackedStack) -> None:
    body = {"refresh_token": attacked.ben.refresh_token}
    with attacked.client() as client:
        client.post("/auth/logout", headers=attacked.ann.bearer, json=body)
        renewed = client.post("/auth/refresh", json=body)
        assert renewed.status_code == 200, renewed.text
    attacked.ben.refresh_token = renewed.json()["data"]["refresh_token"]
    attacked.secrets.add(attacked.ben.refresh_token)
