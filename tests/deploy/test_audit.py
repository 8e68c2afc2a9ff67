"""`just audit`: vulnerabilities fail it, a missing network doesn't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.recipes.audit import judge

SOUND: dict[str, Any] = {"name": "trio", "version": "0.35", "vulns": []}
BAD: dict[str, Any] = {
    "name": "flask",
    "version": "0.5",
    "vulns": [{"id": "PYSEC-2019-179", "fix_versions": ["1.0"], "aliases": [], "description": "…"}],
}
UNKNOWN: dict[str, Any] = {"name": "own", "skip_reason": "Dependency not found on PyPI"}


def output(*dependencies: dict[str, Any]) -> str:
    """The output of `pip-audit --format json`."""
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_vulnerability_fails_it_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(1, output(SOUND, BAD), "Found 1 known vulnerability in 1 package\n") == 1
    assert capsys.readouterr().out == "flask 0.5: PYSEC-2019-179, fixed in 1.0\n"


def test_nothing_found_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(0, output(SOUND, SOUND), "No known vulnerabilities found\n") == 0
    assert capsys.readouterr().out == "2 packages have no known vulnerability.\n"


def test_a_package_that_the_database_does_not_know_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(0, output(SOUND, UNKNOWN), "") == 0
    assert capsys.readouterr().out.endswith("Not checked: own\n")
    assert judge(1, output(BAD, UNKNOWN), "") == 1


def test_an_index_without_such_data_is_no_clean_result(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as a mirror: pip-audit itself then prints that there are no vulnerabilities."""
    assert judge(0, output(UNKNOWN, UNKNOWN), "No known vulnerabilities found\n") == 0
    assert capsys.readouterr().out.startswith("Nothing was checked: the package index has no data")


@pytest.mark.parametrize(
    "errors",
    [
        "error: Failed to fetch: `https://pypi.org/simple/pip-audit/`\n  Caused by: dns error\n",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed\n",
    ],
)
def test_without_a_network_it_passes_and_says_that_nothing_was_checked(
    errors: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(1, "", errors) == 0
    assert capsys.readouterr().out.startswith("Nothing was checked: ")


def test_another_failure_fails_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as a package with other content."""
    error = "ERROR:pip_audit._cli:hash mismatch for trio\n"
    assert judge(1, "", error) == 1
    assert capsys.readouterr().out == error
