"""mongod's shared libraries, on a system that lacks some of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import supervisor
from deploy.config import StackError, stack_config
from deploy.programs import libraries
from deploy.terminal.logs import show

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the loader is that of Linux")

ABSENT = "libq.so.6"
BUNDLED = "libq-0a1b2c3d.so.6"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A real program that needs a C library of an unknown name."""
    whole = Path(shutil.which("true") or "").read_bytes()
    if b"libc.so.6\0" not in whole:
        pytest.skip("no program here that is linked to glibc")
    changed = tmp_path / "program"
    changed.write_bytes(whole.replace(b"libc.so.6\0", ABSENT.encode() + b"\0"))
    changed.chmod(0o755)
    return changed


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the wheel's libraries."""
    folder = tmp_path / "wheel.libs"
    folder.mkdir()
    monkeypatch.setattr(libraries, "_bundled", lambda: folder)
    return folder


def glibc() -> Path:
    """The path of this process's C library."""
    mapped = Path("/proc/self/maps").read_text().split()
    return Path(next(word for word in mapped if word.endswith("/libc.so.6")))


def test_a_missing_library_is_linked_and_the_program_then_runs(
    program: Path, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    (bundled / BUNDLED).symlink_to(glibc())
    folder = tmp_path / "links"
    assert libraries.missing(program) == [ABSENT]
    added = libraries.environment(program, folder)
    assert added == {"LD_LIBRARY_PATH": f"{folder}:{bundled}:/somewhere"}
    assert [link.name for link in folder.iterdir()] == [ABSENT]
    assert subprocess.run([program], env=added, check=False).returncode == 0


def test_a_library_of_the_system_is_not_linked(bundled: Path, tmp_path: Path) -> None:
    """Although the wheel has it as well."""
    (bundled / "libc-0a1b2c3d.so.6").symlink_to(glibc())
    folder = tmp_path / "links"
    assert libraries.environment(Path(shutil.which("true") or ""), folder) == {}
    assert not folder.exists()


def test_links_have_the_wanted_names_and_old_ones_are_removed(tmp_path: Path) -> None:
    """A library of a longer name or of another version isn't linked."""
    source, folder = tmp_path / "wheel.libs", tmp_path / "links"
    source.mkdir()
    for name in ("libcurl-330bcbb6.so.4.8.0", "libcurl-gnutls-1a2b3c4d.so.4", "libssl-8b66dd34.so.1.1"):
        (source / name).touch()
    libraries.link(["libssl.so.1.1"], source, folder)
    libraries.link(["libcurl.so.4", "libssl.so.3"], source, folder)
    links = {link.name: link.resolve().name for link in folder.iterdir()}
    assert links == {"libcurl.so.4": "libcurl-330bcbb6.so.4.8.0"}


@pytest.mark.usefixtures("bundled")
def test_an_unavailable_library_is_reported_with_its_package(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(libraries._PACKAGES, ABSENT, "q6 (Debian, Ubuntu) or q (Fedora)")
    with pytest.raises(StackError) as caught:
        libraries.environment(program, tmp_path / "links")
    assert str(caught.value) == f"mongod needs {ABSENT}: install q6 (Debian, Ubuntu) or q (Fedora)"


@pytest.mark.usefixtures("bundled")
def test_an_unavailable_library_is_reported_before_supervisor_starts(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for a mongod that can't start."""
    monkeypatch.setattr("deploy.programs.mongodb.find_mongod", lambda: program)
    found = stack_config({"STACK_DIR": str(tmp_path / "stack")})
    try:
        with pytest.raises(StackError, match=f"^mongod needs {ABSENT}: install "):
            supervisor.StackSupervisor(found).launch()
        assert not found.configuration.exists()
    finally:
        assert supervisor.kill_orphans(found) == []


def test_only_mongod_gets_the_linked_libraries(tmp_path: Path) -> None:
    found = stack_config({"STACK_DIR": str(tmp_path)})
    parts = supervisor.render(found, {"LD_LIBRARY_PATH": "/100%/links"}).split("[program:")
    has_path = {part.partition("]")[0]: "LD_LIBRARY_PATH" in part for part in parts[1:]}
    assert [name for name, has in has_path.items() if has] == ["mongodb"]
    assert 'environment=LD_LIBRARY_PATH="/100%%/links"\n' in parts[1]


def test_the_loaders_warning_in_mongods_log_is_printed_as_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It isn't JSON, has no time, and comes before mongod's first line."""
    warning = "/bin/mongod: /x/libcurl.so.4: no version information available (required by /bin/mongod)"
    line = '{"t":{"$date":"2030-01-01T00:00:02.5+00:00"},"s":"I","msg":"Starting"}'
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    found.log("mongodb").write_text(f"{warning}\n{line}\n")
    found.log("auth-service").write_text("2030-01-01T00:00:01Z first\n")
    show(found, ["mongodb"], follow=False, last=None)
    assert capsys.readouterr().out == f"{warning}\n{line}\n"
    show(found, ["mongodb", "auth-service"], follow=False, last=None)
    names = [line.split("│")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert names == ["mongodb", "auth-service", "mongodb"]
