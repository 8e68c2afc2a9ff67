"""The alert rules: valid, the known ones word for word, and each proven by promtool's own unit tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.breakers import BREAKERS
from tests.deploy.tools import DEPLOY, RULES, exported, promtool, rules

KNOWN = {
    "CircuitBreakerOpen": ("circuit_breaker_state == 2", "5m", "warning"),
    "CircuitBreakerHighFailures": ("rate(circuit_breaker_failures_total[5m]) > 0.1", "2m", "critical"),
    "CircuitBreakerExtendedOutage": (
        "circuit_breaker_state == 2 and (time() - circuit_breaker_last_state_change) > 300",
        "1m",
        "critical",
    ),
}
FURTHER = {
    "CircuitBreakerOutage",
    "CircuitBreakerFlapping",
    "CircuitBreakerRejecting",
    "CircuitBreakerAbsent",
}


async def test_what_is_exported_has_good_names_and_types() -> None:
    text, _ = await exported()
    assert promtool("check", "metrics", given=text) == ""


def test_the_configuration_and_its_rules_are_valid() -> None:
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_each_rule_fires_stays_quiet_and_resets() -> None:
    promtool("test", "rules", DEPLOY / "prometheus" / "circuit_breakers.test.yml")


@pytest.mark.parametrize("name", sorted({*KNOWN, *FURTHER}))
def test_the_unit_tests_notice_a_rule_that_never_fires(name: str, tmp_path: Path) -> None:
    before, after = RULES.read_text().split(f"- alert: {name}\n")
    broken = re.sub(r"expr: (>-\n( {10}.*\n)+|.*\n)", "expr: vector(0) > 1\n", after, count=1)
    (tmp_path / RULES.name).write_text(f"{before}- alert: {name}\n{broken}")
    (tmp_path / "test.yml").write_text((DEPLOY / "prometheus" / "circuit_breakers.test.yml").read_text())
    with pytest.raises(AssertionError, match=name):
        promtool("test", "rules", tmp_path / "test.yml")


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_rules_stand_word_for_word(name: str) -> None:
    expression, duration, severity = KNOWN[name]
    text = rules()[name]
    assert f"\n        expr: {expression}\n        for: {duration}\n" in text
    assert f"\n          severity: {severity}\n" in text


def test_every_summary_names_the_breaker() -> None:
    found = rules()
    assert set(found) == {*KNOWN, *FURTHER}
    for text in found.values():
        (summary,) = re.findall(r"summary: (.*)", text)
        assert "{{ $labels.service }}" in summary


def test_no_breaker_can_go_missing_unnoticed() -> None:
    asked = re.findall(
        r'absent\(circuit_breaker_state\{service="([^"]+)"\}\)', rules()["CircuitBreakerAbsent"]
    )
    assert sorted(asked) == sorted(BREAKERS)


@pytest.mark.parametrize("name", sorted({*KNOWN, *FURTHER}))
async def test_rules_ask_for_metrics_that_exist(name: str) -> None:
    _, families = await exported()
    names = {sample.name for family in families for sample in family.samples}
    assert set(re.findall(r"circuit_breaker_\w+", rules()[name])) <= names


async def test_the_reference_lists_what_is_exported() -> None:
    _, families = await exported()
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    reference = (DEPLOY.parent / "docs" / "reference" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(circuit_breaker_\w+)`", reference, flags=re.MULTILINE)) == names


def test_the_guide_explains_every_alert() -> None:
    guide = (DEPLOY.parent / "docs" / "how-to" / "alerts.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \(", guide, flags=re.MULTILINE)) == set(rules())
