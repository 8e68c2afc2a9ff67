"""The environment of each process: its settings, and no credentials of another process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import environments
from deploy.config import MARK, StackConfig, StackError, stack_config
from deploy.supervisor import render

ODD = "a 'b' \"c\" $HOME `id` \\ #\n%d ü"


def config(folder: Path, **settings: str) -> StackConfig:
    return stack_config({"STACK_DIR": str(folder / "stack"), **settings})


def files(found: StackConfig) -> dict[str, dict[str, str]]:
    """The environment file of each Python process."""
    read = {name: environments.read(found, name) for name in environments.python_processes(found)}
    return {name: variables for name, variables in read.items() if variables is not None}


@pytest.fixture
def written(tmp_path: Path) -> StackConfig:
    found = config(tmp_path)
    found.folder.mkdir()
    environments.write(
        found, {"RATE_LIMIT_PER_MINUTE": "7", "PATH": "/bin", "AWS_SECRET": "x", "STACK_DIR": "y"}
    )
    return found


def test_each_service_has_a_mongodb_user_of_its_own_and_the_gateway_has_none(written: StackConfig) -> None:
    found = files(written)
    uris = [found[name]["MONGODB_URI"] for name in ("auth-service", "school-service", "student-service")]
    assert len({uri.partition("@")[0] for uri in uris}) == 3
    assert all(uri.startswith("mongodb://") and "authSource=admin" in uri for uri in uris)
    assert uris[0].startswith("mongodb://auth-service:")
    assert "MONGODB_URI" not in found["api-gateway"]


def test_the_grpc_secret_is_made_for_student_and_school_service_alone(written: StackConfig) -> None:
    found = files(written)
    secret = found["school-service"]["SCHOOL_GRPC_SECRET"]
    assert len(secret) == 48
    assert found["student-service"]["SCHOOL_GRPC_SECRET"] == secret
    assert [name for name in found if "SCHOOL_GRPC_SECRET" in found[name]] == [
        "school-service",
        "student-service",
    ]


@pytest.mark.parametrize(("given", "used"), [("chosen", "chosen"), ("", None)])
def test_a_chosen_grpc_secret_is_used_and_an_empty_one_is_none(
    written: StackConfig, given: str, used: str | None
) -> None:
    found = environments.settings_of(written, "student-service", {"SCHOOL_GRPC_SECRET": given})
    assert found.get("SCHOOL_GRPC_SECRET") == used
    assert "SCHOOL_GRPC_SECRET" not in environments.settings_of(
        written, "api-gateway", {"SCHOOL_GRPC_SECRET": given}
    )


def test_the_files_are_private_and_have_settings_alone(written: StackConfig) -> None:
    """They don't have the caller's other variables, nor the settings that only `just` reads."""
    for name, variables in files(written).items():
        assert stat.S_IMODE(written.environment_file(name).stat().st_mode) == 0o600
        assert variables["RATE_LIMIT_PER_MINUTE"] == "7"
        assert not {"PATH", "AWS_SECRET", "STACK_DIR", MARK} & set(variables)


def test_a_second_up_keeps_all_secrets(written: StackConfig) -> None:
    """Also an `up` that goes on after it was killed half-way."""
    before = files(written)
    written.environment_file("auth-service").unlink()
    environments.write(written, {"RATE_LIMIT_PER_MINUTE": "7"})
    assert files(written) == before


def test_a_database_elsewhere_is_passed_to_the_services_alone(tmp_path: Path) -> None:
    uri = "mongodb+srv://u:p%40%27s@db.example.org/x?authSource=admin"
    found = config(tmp_path, MONGODB_URI=uri)
    found.folder.mkdir()
    environments.write(found, {"MONGODB_URI": uri})
    has = files(found)
    assert has["auth-service"]["MONGODB_URI"] == has["student-service"]["MONGODB_URI"] == uri
    assert "MONGODB_URI" not in has["api-gateway"]
    assert not list(found.secrets.glob("mongodb*"))


def test_what_others_share_has_no_setting() -> None:
    """supervisor's environment, and so MongoDB's, Valkey's and HAProxy's."""
    given = {
        "PATH": "/bin",
        "MONGODB_URI": "a",
        "VALKEY_URL": "b",
        "ADMIN_TOKEN": "c",
        "WEBHOOK_SECRET": "d",
        "SCHOOL_GRPC_SECRET": "e",
        "OTEL_EXPORTER_OTLP_HEADERS": "f",
    }
    found = config(Path("/x"))
    assert environments.shared(found, given) == {
        "PATH": "/bin",
        "PYTHONUNBUFFERED": "1",
        MARK: "/x/stack",
    }
    assert environments.settings_of(found, "api-gateway", given)["OTEL_EXPORTER_OTLP_HEADERS"] == "f"


def test_a_shell_reads_a_file_as_it_was_written(tmp_path: Path) -> None:
    """A value may have any characters. The shell is one by hand, or supervisor's for the process."""
    found = config(tmp_path)
    found.folder.mkdir()
    environments.write(found, {"ADMIN_TOKEN": ODD})
    assert (environments.read(found, "auth-service") or {})["ADMIN_TOKEN"] == ODD
    show = [sys.executable, "-c", "import os; print(ascii(os.environ['ADMIN_TOKEN']))"]
    by_hand = ["/bin/sh", "-c", 'set -a; . "$0"; "$@"', str(found.environment_file("auth-service")), *show]
    for words in (by_hand, environments.command(found, "auth-service", show)):
        done = subprocess.run(
            words, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{ODD!a}\n"


def test_supervisor_has_no_credentials_in_its_configuration(written: StackConfig) -> None:
    """Its command lines are visible to every user of the host. Its processes write private files."""
    text = render(written, {})
    assert "umask=077" in text.splitlines()
    kept = [
        path.read_text().strip() for path in (*written.secrets.iterdir(), written.valkey_folder / "password")
    ]
    assert len(kept) == 7
    assert not [secret for secret in kept if secret in text]


def test_a_file_that_is_cut_off_is_reported(written: StackConfig) -> None:
    written.environment_file("auth-service").write_text("A='b")
    with pytest.raises(StackError, match="auth-service.env can't be read"):
        environments.read(written, "auth-service")
