"""`python -m deploy.recipes.generated` writes the files of a fleet that repeat others. A test compares them.

Kustomize reads no file outside its folder, and Prometheus's operator takes rules only as a part of its own
format. Everything else in deploy/docker, deploy/systemd and deploy/kubernetes is written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import indent

from deploy.config import ROOT
from deploy.programs.load_balancer import render_for_containers
from protocols.topology import GATEWAY_PORT

_RULES = Path("deploy/prometheus/circuit_breakers.rules.yml")
_MOST_GATEWAYS = 9
"""Gateways that the load balancer of deploy/docker has room for."""

_PROMETHEUS_RULE = f"""\
# Written by `python -m deploy.recipes.generated` from {_RULES}.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: circuit-breakers
spec:
"""


def files() -> Mapping[str, str]:
    """The text of each generated file, by its path in the repository."""
    rules = (ROOT / _RULES).read_text()
    return {
        "deploy/docker/haproxy.cfg": render_for_containers(
            f":{GATEWAY_PORT}", "gateway", GATEWAY_PORT, _MOST_GATEWAYS
        ),
        "deploy/kubernetes/base/breakers.toml": (ROOT / "breakers.toml").read_text(),
        "deploy/kubernetes/monitoring/prometheus-rule.yaml": _PROMETHEUS_RULE + indent(rules, "  "),
    }


def main() -> None:
    """Write all files."""
    for path, text in files().items():
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
