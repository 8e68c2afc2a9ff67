"""deploy/kubernetes as kustomize builds it: valid by the schemas of Kubernetes."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.fleet.kubernetes.manifests import FOLDERS, manifests, name, settings_of
from tests.deploy.fleet.tools import KUBERNETES, documents, run, tool

# Those of Prometheus's operator have no schema here.
FOREIGN = ("PrometheusRule", "ServiceMonitor")
LATEST = kubernetes_validate.latest_version()
# Earlier versions have no `labels` with pairs, and no literals that merge.
OLDEST_KUSTOMIZE = (5, 0)


def check(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, LATEST, strict=True)


@cache
def built(folder: str) -> list[dict[str, Any]]:
    """The manifests that `kubectl apply -k` would send."""
    kubectl = tool("kubectl")
    words = [kubectl, "version", "--client"]
    version = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout
    found = re.search(r"Kustomize Version: v(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < OLDEST_KUSTOMIZE:
        pytest.skip(f"kubectl is too old, kustomize 5 is needed: {version!r}")
    return documents(run(kubectl, "kustomize", KUBERNETES / folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_manifest_is_valid(folder: str) -> None:
    """Strictly: an unknown key is an error."""
    checked = [check(one) for one in manifests(folder) if one["kind"] not in FOREIGN]
    assert checked or folder == "monitoring"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_kustomize_builds_is_valid(folder: str) -> None:
    found = built(folder)
    kinds = sorted((one["kind"], name(one)) for one in found if one["kind"] != "ConfigMap")
    assert kinds == sorted((one["kind"], name(one)) for one in manifests(folder))
    for one in found:
        if one["kind"] not in FOREIGN:
            check(one)
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "school"


@pytest.mark.parametrize("folder", ["local", "production"])
def test_the_pods_use_the_config_maps_that_were_built(folder: str) -> None:
    """Their names contain a hash of their content: a change of one is a rolling update."""
    maps = {name(one): one["data"] for one in built(folder) if one["kind"] == "ConfigMap"}
    (settings,) = [one for one in maps if re.fullmatch(r"school-settings-\w{10}", one)]
    (breakers,) = [one for one in maps if re.fullmatch(r"breakers-\w{10}", one)]
    assert maps[settings] == settings_of(folder)
    for one in built(folder):
        if one["kind"] == "Deployment":
            spec = one["spec"]["template"]["spec"]
            assert spec["containers"][0]["envFrom"] == [{"configMapRef": {"name": settings}}]
            assert {"name": "breakers", "configMap": {"name": breakers}} in spec["volumes"]
            mount, file = settings_of(folder)["CIRCUIT_BREAKERS"].rsplit("/", 1)
            assert file in maps[breakers]
            mounts = spec["containers"][0]["volumeMounts"]
            assert {"name": "breakers", "mountPath": mount, "readOnly": True} in mounts


def test_the_images_are_those_of_the_overlay() -> None:
    images = {
        folder: {
            one["spec"]["template"]["spec"]["containers"][0]["image"]
            for one in built(folder)
            if one["kind"] == "Deployment"
        }
        for folder in ("local", "production")
    }
    assert images["local"] == {"school-stack:latest"}
    (image,) = images["production"]
    assert re.fullmatch(r"images\.example\.org/school-stack:\d+\.\d+\.\d+", image)


def test_an_unknown_key_is_found() -> None:
    broken = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "spec": {"nothing": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken)
