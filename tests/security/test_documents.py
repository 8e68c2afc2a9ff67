"""Every answer to a generated request is one that its OpenAPI document describes.

Schemathesis makes the requests: valid ones, and ones that break the document. SECURITY_SEED makes others.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from requests.adapters import HTTPAdapter
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.security.attacked_stack import EXAMPLES, AttackedStack
from tests.security.operations import Document

SEED = int(os.environ.get("SECURITY_SEED", "1"))
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
ENDLESS = "/dashboard/events"
"""A stream: see test_floods.py."""
BREAKER = "school-database"


class FromAddress(HTTPAdapter):
    """Connects from an address of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **options)


class Fuzzer:
    """Sends generated requests of one account. calls: so far, by operation and status."""

    def __init__(self, attacked: AttackedStack, bearer: dict[str, str]) -> None:
        self._attacked = attacked
        self._bearer = bearer
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", FromAddress(attacked.address()))
        self.calls: Counter[tuple[str, int]] = Counter()

    def run(self, operation: APIOperation, url: str, known: dict[str, Any] | None) -> None:
        """Call an operation. known: path parameters of something that exists; None: generated ones."""
        for mode in GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode, path_parameters=known)
            try:
                self._test(strategy, url)()
            except Unsatisfiable:
                # A request without parameters and body can't break the document.
                assert mode is GenerationMode.NEGATIVE, operation.label

    def _test(self, strategy: Any, url: str) -> Any:
        def check(case: Case) -> None:
            answer = case.call(
                url, session=self._session, headers=dict(self._bearer), timeout=20, allow_redirects=False
            )
            self.calls[case.operation.label, answer.status_code] += 1
            self._reset_breaker(case)
            case.validate_response(answer, checks=CHECKS)

        limits = settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        return seed(SEED)(limits(given(strategy)(check)))

    def _reset_breaker(self, case: Case) -> None:
        if case.path_parameters.get("name") == BREAKER and case.method in ("POST", "PUT"):
            path = f"/admin/breakers/{BREAKER}/reset"
            answer = self._attacked.stack.client.post(path, headers=self._attacked.admin)
            assert answer.status_code == 200, answer.text


def known_values(attacked: AttackedStack, operation: APIOperation) -> dict[str, Any]:
    """Path parameters that name a new record, or a breaker; empty if the operation takes none."""
    path = operation.path
    if "{name}" in path:
        return {"name": BREAKER} if "/admin/" in path else {}
    if "{" not in path:
        return {}
    school = attacked.new_school(attacked.ann)
    if "{school}" in path:
        return {"school": school}
    if path.startswith("/schools"):
        return {"number": school}
    return {"number": attacked.new_student(attacked.ann, school)}


@pytest.fixture(scope="module")
def documents(attacked: AttackedStack) -> dict[str, tuple[str, Document]]:
    return attacked.documents()


@pytest.mark.parametrize("account", ["user", "admin"])
@pytest.mark.parametrize("process", ["api-gateway", "auth-service", "school-service", "student-service"])
def test_every_answer_is_documented(
    attacked: AttackedStack, documents: dict[str, tuple[str, Document]], process: str, account: str
) -> None:
    url, document = documents[process]
    fuzzer = Fuzzer(attacked, attacked.admin if account == "admin" else attacked.ann.bearer)
    called = set()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        fuzzer.run(operation, url, None)
        if known := known_values(attacked, operation):
            fuzzer.run(operation, url, known)
        called.add(operation.label)
    assert called == {label for label, _ in fuzzer.calls}
    succeeded = {label for label, status in fuzzer.calls if status < 400}
    expected = {"api-gateway": 20, "auth-service": 2, "school-service": 4, "student-service": 3}
    assert len(succeeded) >= expected[process], sorted(called - succeeded)


def test_the_gateways_document_has_every_call_of_every_process(
    attacked: AttackedStack, documents: dict[str, tuple[str, Document]]
) -> None:
    merged = documents["api-gateway"][1]["paths"]
    for process, (_, document) in documents.items():
        prefix = "/auth" if process == "auth-service" else ""
        for path, item in document["paths"].items():
            assert item.keys() <= merged[f"{prefix}{path}"].keys()
            for method in item.keys() - {"parameters"}:
                known = item[method]["responses"].keys()
                assert known <= merged[f"{prefix}{path}"][method]["responses"].keys(), path
