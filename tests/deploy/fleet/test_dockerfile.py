"""deploy/docker/Dockerfile: linted, and its content built and run without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.demo.ephemeral_stack import free_ports, wait_for
from deploy.livez import is_alive
from protocols.topology import MODULES, PORTS
from tests.deploy.fleet.backends import backends
from tests.deploy.fleet.dockerfile import arguments, build, copied, stages
from tests.deploy.fleet.settings import unknown
from tests.deploy.fleet.tools import DOCKER, ROOT, run, tool

SERVERS = re.compile(r"fiftyone|mongod|mongos|valkey|redis|supervisor|pycurl")


def ports() -> dict[str, str]:
    """A free port for each port's setting."""
    return {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}


def image_environment() -> dict[str, str]:
    """The ENV of the image."""
    words = [word for line in arguments(stages()[-1], "ENV") for word in line.split()]
    return dict(word.split("=", 1) for word in words)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's folder /app."""
    folder = tmp_path_factory.mktemp("image") / "app"
    build(folder)
    return folder


@contextmanager
def process(app: Path, module: str, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of the image during the block, once it is alive."""
    python = app / ".venv/bin/python"
    environment = {"LANG": "C.UTF-8", **image_environment(), "HOST": "127.0.0.1", **settings}
    del environment["PYTHONDONTWRITEBYTECODE"]  # the image has the bytecode already
    environment["MONGODB_URI"] = "mongodb://127.0.0.1:1/?replicaSet=rs0"
    running = subprocess.Popen([python, "-m", module], cwd=app, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def test_hadolint_finds_nothing() -> None:
    assert run(tool("hadolint"), "--no-color", DOCKER / "Dockerfile") == ""


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    first, *lines = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert first == "*"
    sources = {source for sources, _ in copied() for source in sources}
    assert {line[1:] for line in lines if line.startswith("!")} == sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_user_is_not_root_and_owns_no_code() -> None:
    final = stages()[-1]
    assert arguments(final, "USER") == ["10001:10001"]
    assert not [line for line in arguments(final, "COPY") if "--chown" in line]


def test_a_stop_is_a_sigterm_for_the_process_itself() -> None:
    """The command is a list: a shell in between would keep the signal."""
    final = stages()[-1]
    assert arguments(final, "STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(arguments(final, "CMD")[0]) == ["python", "-m", "gateway"]


def test_the_health_check_runs_livez_of_this_image(app: Path) -> None:
    (check,) = arguments(stages()[-1], "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["python", "-m", "deploy.livez"]
    assert (app / "deploy/livez.py").is_file()


def test_the_image_has_every_port_and_only_known_settings() -> None:
    final = stages()[-1]
    defaults = {str(port) for owner, port in PORTS.values() if owner in MODULES}
    assert set(arguments(final, "EXPOSE")[0].split()) == defaults
    assert unknown(image_environment()) == set()
    assert image_environment()["HOST"] == "0.0.0.0"


def test_the_image_installs_no_server_and_no_tool_of_ours(app: Path) -> None:
    places = ("bin/*", "lib/python*/site-packages/*")
    installed = [path.name for place in places for path in (app / ".venv").glob(place)]
    assert "pymongo" in installed
    assert [name for name in installed if SERVERS.match(name.lower())] == []


@pytest.mark.parametrize("module", MODULES.values())
def test_each_process_starts_from_the_image_and_stops(app: Path, module: str) -> None:
    """With the image's files and packages alone, and with MongoDB down. livez notices start and end."""
    settings = ports()
    check = [app / ".venv/bin/python", "-m", "deploy.livez"]

    def alive() -> bool:
        return subprocess.run(check, cwd=app, env=settings, check=False, timeout=10).returncode == 0

    with process(app, module, settings) as running:
        assert wait_for(lambda: running.poll() is not None or alive(), 60)
        assert running.poll() is None
        running.terminate()
        assert running.wait(20) == 0
    assert not alive()


def test_livez_fails_for_a_process_that_is_not_well() -> None:
    with backends(1) as (backend,):
        assert is_alive({**ports(), "STUDENT_SERVICE_PORT": str(backend.server_port)})
        assert not is_alive({**ports(), "SCHOOL_GRPC_PORT": str(backend.server_port)})
        backend.live = False
        assert not is_alive({**ports(), "STUDENT_SERVICE_PORT": str(backend.server_port)})


def test_livez_speaks_tls_where_the_gateway_does(tmp_path: Path) -> None:
    """A clear-text answer is no answer."""
    with backends(1) as (backend,):
        settings = {**ports(), "GATEWAY_PORT": str(backend.server_port)}
        assert is_alive(settings)
        assert not is_alive({**settings, "TLS_CERT_FILE": str(tmp_path / "chain.pem")})


def test_livez_needs_no_package() -> None:
    """Started every ten seconds in each container, it should be quick."""
    words = [sys.executable, "-S", "-m", "deploy.livez"]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **ports()}, check=False, timeout=20)
    assert done.returncode == 1
