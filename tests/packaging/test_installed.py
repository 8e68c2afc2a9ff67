"""The wheel as a user has it: alone with trio, in an empty environment of each installed Python.

uv takes the packages from its cache or from the index that it is configured for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest

import actors
from tests.typing.pages import BLOCK, ROOT, all_pages

TUTORIAL = (ROOT / "docs" / "tutorial" / "first-breaker.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UV = os.environ.get("UV") or shutil.which("uv")
needs_uv = pytest.mark.skipif(UV is None, reason="uv isn't installed")

PYTHONS = ["3.11", "3.12", "3.13"]
EXTRAS = {
    "httpx": "httpx",
    "grpc": "grpc",
    "mongo": "mongo",
    "logs": "logs",
    "metrics": "metrics",
    "otel_metrics": "otel",
    "tracing": "tracing",
    "valkey": "valkey",
    "health": "",
}
"""The extra of each adapter."""

FACTS = """
import importlib.metadata, importlib.util, logging, pickle
import trio_breakers
from trio_breakers import CircuitOpenError

required = [one for one in importlib.metadata.requires("trio-breakers") if "extra ==" not in one]
assert required == ["trio>=0.35"], required
assert trio_breakers.__version__ == importlib.metadata.version("trio-breakers")
for name in ["actors", "protocols", "runtime", "services", "gateway", "deploy", "tests"]:
    assert importlib.util.find_spec(name) is None, name
for name in trio_breakers.__all__:
    module = getattr(getattr(trio_breakers, name), "__module__", "trio_breakers")
    assert module.split(".")[0] == "trio_breakers", name
assert b"ctrio_breakers.errors" in pickle.dumps(CircuitOpenError("it"), 0)
assert pickle.loads(pickle.dumps(CircuitOpenError("it"))).name == "it"
loggers = {name for name in logging.root.manager.loggerDict if "breakers" in name or "actors" in name}
assert loggers == {"trio_breakers"}, loggers
"""
"""Facts that hold in every program of a user."""


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that doesn't see this repository's environment."""
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "MYPYPATH")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, f"{command} in {cwd}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@cache
def interpreter(version: str) -> str | None:
    """A Python of this version: this one, one on the PATH, one of pyenv's, or one that uv has."""
    found = [sys.executable, shutil.which(f"python{version}")]
    found += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    query = [str(UV), "python", "find", "--no-python-downloads", "--no-project", "--system", version]
    found.append(subprocess.run(query, capture_output=True, text=True).stdout.strip())
    # A shim of pyenv is on the PATH even if it starts nothing.
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    for python in filter(None, found):
        if subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip() == version:
            return python
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(str(UV), "build", "--quiet", "--no-python-downloads", "--out-dir", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def install(folder: Path, python: str, wheel: Path, extra: str = "") -> Path:
    """Make an environment in `folder` that holds the wheel and what it requires; return its Python."""
    environment = folder / "env"
    run(str(UV), "venv", "--quiet", "--python", python, environment, cwd=folder)
    target = environment / "bin" / "python"
    wanted = f"trio-breakers[{extra}] @ {wheel.as_uri()}"
    run(str(UV), "pip", "install", "--quiet", "--python", target, wanted, cwd=folder)
    return target


# The files.


@needs_uv
def test_the_wheel_has_one_top_level_package_and_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    metadata = f"trio_breakers-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"trio_breakers", metadata}
    assert "trio_breakers/py.typed" in names
    licences = {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "LICENSE.MIT", "LICENSE.APACHE2"}
    package = ROOT / "actors"
    modules = {file.relative_to(package).as_posix() for file in package.rglob("*.py")}
    assert {name.removeprefix("trio_breakers/") for name in names if name.endswith(".py")} == modules


@needs_uv
def test_a_wheel_from_a_checkout_is_the_wheel_from_the_sdist(tmp_path: Path, wheel: Path) -> None:
    # `pip install ./trio-breakers` builds from the folder, with all of the stack beside the package.
    run(str(UV), "build", "--quiet", "--no-python-downloads", "--wheel", "--out-dir", tmp_path, cwd=ROOT)
    (direct,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(direct).namelist() == zipfile.ZipFile(wheel).namelist()


@needs_uv
def test_the_sdist_has_the_package_and_its_papers_alone(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    papers = {"README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "LICENSE.MIT", "LICENSE.APACHE2"}
    assert {name for name in names if not name.startswith("actors/")} == papers | {
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }


def test_the_version_is_said_twice_and_is_the_same() -> None:
    assert actors.__version__ == PROJECT["version"]


def test_every_adapter_has_an_extra_that_exists() -> None:
    modules = {file.stem for file in (ROOT / "actors" / "adapters").glob("*.py")}
    assert modules - {"__init__", "httpx_body", "otel_counts", "shadow_metrics", "shortage"} == EXTRAS.keys()
    assert {extra for extra in EXTRAS.values() if extra} == PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_a_page_imports_the_installed_package(page: Path) -> None:
    for block in BLOCK.findall(page.read_text()):
        assert not re.search(r"^\s*(from|import) actors\b", block, re.MULTILINE)


# The wheel in use.


@needs_uv
@pytest.mark.parametrize("version", PYTHONS)
def test_a_users_program_runs_and_is_typed(tmp_path: Path, wheel: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    installed = install(tmp_path, python, wheel)
    run(installed, "-W", "error", "-c", FACTS, cwd=tmp_path)

    program = "".join(BLOCK.findall(TUTORIAL))
    (tmp_path / "forecast.py").write_text(program)
    clock = "from trio.testing import MockClock; clock = MockClock(autojump_threshold=0)"
    script = f"import trio, forecast; {clock}; trio.run(forecast.main, clock=clock)"
    told = re.search(r"^```text\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    assert told is not None
    assert run(installed, "-c", script, cwd=tmp_path) == told[1]

    # Without the package's types the comment would be unused, which is an error too.
    wrong = "\nWRONG: str = POLICY.max_failures  # type: ignore[assignment]\n"
    (tmp_path / "typed.py").write_text(program + wrong)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", installed)
    assert run(*mypy, "typed.py", cwd=tmp_path).startswith("Success")


@needs_uv
@pytest.mark.parametrize("adapter", EXTRAS)
def test_an_adapter_needs_its_extra_alone(tmp_path: Path, wheel: Path, adapter: str) -> None:
    installed = install(tmp_path, sys.executable, wheel, EXTRAS[adapter])
    run(installed, "-c", f"import trio_breakers.adapters.{adapter}", cwd=tmp_path)
