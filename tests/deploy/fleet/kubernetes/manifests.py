"""The Kubernetes manifests as data: the parts of a kustomization, without kustomize."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.deploy.fleet.tools import KUBERNETES, documents

Manifest = dict[str, Any]
FOLDERS = ("base", "monitoring", "local", "production")
NAME = "app.kubernetes.io/name"
WORKLOADS = ("Deployment", "StatefulSet", "Job")


def kustomization(folder: str) -> dict[str, Any]:
    return yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())


@cache
def manifests(folder: str) -> tuple[Manifest, ...]:
    """All documents that a kustomization names, those of other folders too, unpatched."""
    return tuple(_manifests(folder))


def _manifests(folder: str) -> Iterator[Manifest]:
    for name in kustomization(folder)["resources"]:
        if name.startswith("../"):
            yield from manifests(name.removeprefix("../"))
        else:
            yield from documents((KUBERNETES / folder / name).read_text())


def of_kind(folder: str, *kinds: str) -> list[Manifest]:
    return [one for one in manifests(folder) if one["kind"] in kinds]


def name(manifest: Manifest) -> str:
    return manifest["metadata"]["name"]


def pods(folder: str) -> dict[str, Manifest]:
    """The template of each workload's pods, by the workload's name."""
    return {name(one): one["spec"]["template"] for one in of_kind(folder, *WORKLOADS)}


def container(template: Manifest) -> Manifest:
    (only,) = template["spec"]["containers"]
    return only


def container_ports(template: Manifest) -> dict[str, int]:
    """By name."""
    return {port["name"]: port["containerPort"] for port in container(template).get("ports", [])}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector selects something with these labels."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def settings_of(folder: str) -> dict[str, str]:
    """The variables in the ConfigMap school-settings."""
    found: dict[str, str] = {}
    for resource in kustomization(folder)["resources"]:
        if resource.startswith("../"):
            found |= settings_of(resource.removeprefix("../"))
    for generator in kustomization(folder).get("configMapGenerator", []):
        if generator["name"] == "school-settings":
            lines = list(generator.get("literals", []))
            for file in generator.get("envs", []):
                lines += (KUBERNETES / folder / file).read_text().splitlines()
            found |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return found


def generated(folder: str) -> set[str]:
    """The names of the ConfigMaps that a kustomization and those below it generate."""
    names = {one["name"] for one in kustomization(folder).get("configMapGenerator", [])}
    for resource in kustomization(folder)["resources"]:
        if resource.startswith("../"):
            names |= generated(resource.removeprefix("../"))
    return names
