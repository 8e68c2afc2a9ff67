"""`just audit`: vulnerabilities fail it, a missing network doesn't."""

from __future__ import annotations

import pytest

from deploy.audit import judge

FOUND = "Name Version ID\npyjwt 2.0 PYSEC-1\n"


def test_a_vulnerability_fails_it_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(1, FOUND, "Found 1 known vulnerability in 1 package\n") == 1
    assert FOUND in capsys.readouterr().out


def test_nothing_found_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(0, "", "No known vulnerabilities found\n") == 0
    assert capsys.readouterr().out == "No known vulnerabilities found\n"


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


def test_another_failure_fails_it() -> None:
    """A package of another content, for example."""
    assert judge(1, "", "ERROR:pip_audit._cli:hash mismatch for trio\n") == 1
    assert judge(1, FOUND, "WARNING: timed out, retrying\n") == 1
