"""Which connections the network policies of a kustomization allow between its pods."""

from __future__ import annotations

from typing import Any

from tests.deploy.fleet.kubernetes.manifests import container_ports, matches, of_kind, pods

OUTSIDE = {"ingress controller": {"school/ingress": "true"}, "prometheus": {"school/prometheus": "true"}}
"""Senders outside of the kustomization, with the labels of their namespaces."""

Connection = tuple[str, str, int]


def connections(folder: str) -> set[Connection]:
    """Every (from, to, port) that both sides allow."""
    labels = {name: template["metadata"]["labels"] for name, template in pods(folder).items()}
    found: set[Connection] = set()
    for target, template in pods(folder).items():
        for port in container_ports(template).values():
            for source, own in labels.items():
                leaves = _allowed(folder, "egress", "to", own, labels[target], port)
                enters = _allowed(folder, "ingress", "from", labels[target], own, port)
                if source != target and leaves and enters:
                    found.add((source, target, port))
            for source, namespace in OUTSIDE.items():
                if _allowed(folder, "ingress", "from", labels[target], None, port, namespace):
                    found.add((source, target, port))
    return found


def _allowed(
    folder: str,
    direction: str,
    word: str,
    own: dict[str, str],
    other: dict[str, str] | None,
    port: int,
    namespace: dict[str, str] | None = None,
) -> bool:
    """Whether a policy for the pod `own` allows the other end. Policies add up; without any, all may pass."""
    policies = [
        one["spec"]
        for one in of_kind(folder, "NetworkPolicy")
        if matches(one["spec"]["podSelector"], own) and direction.capitalize() in one["spec"]["policyTypes"]
    ]
    rules = [rule for policy in policies for rule in policy.get(direction, [])]
    return not policies or any(
        _is_port(rule, port) and any(_is_peer(peer, other, namespace) for peer in rule[word])
        for rule in rules
    )


def _is_port(rule: dict[str, Any], port: int) -> bool:
    return any(one["protocol"] == "TCP" and one["port"] == port for one in rule["ports"])


def _is_peer(peer: dict[str, Any], labels: dict[str, str] | None, namespace: dict[str, str] | None) -> bool:
    (selector,) = peer
    if selector == "podSelector":
        return labels is not None and matches(peer[selector], labels)
    if selector == "namespaceSelector":
        return namespace is not None and matches(peer[selector], namespace)
    assert selector == "ipBlock", selector
    return False
