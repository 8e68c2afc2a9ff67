"""The environment of each process: the settings that it reads, and no credentials of another process."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping

from deploy.config import HOST, MARK, StackConfig, StackError
from deploy.credentials import mongodb_users, private_files
from deploy.programs import gateways, valkey
from deploy.setting_table import CREDENTIALS, GRPC_SECRET, GRPC_SECRET_READERS, OF_STACK, is_setting
from protocols.topology import API_GATEWAY, MODULES, is_gateway

_ADMINISTRATOR = "administrator"
_RUN = ("/bin/sh", "-c", 'set -a; . "$0"; exec "$@"')


def shared(config: StackConfig, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of supervisor and of what it starts: the caller's, without the stack's settings."""
    kept = {name: value for name, value in environment.items() if not is_setting(name)}
    return {**kept, "PYTHONUNBUFFERED": "1", MARK: str(config.folder)}


def python_processes(config: StackConfig) -> tuple[str, ...]:
    """The names of the stack's Python processes."""
    return tuple(name for name in config.processes if name in MODULES or is_gateway(name))


def settings_of(
    config: StackConfig, name: str, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The settings of a Python process: the caller's, and this stack's URLs, ports and credentials."""
    ports = config.ports
    own = {
        "AUTH_SERVICE_URL": f"http://{HOST}:{ports['AUTH_SERVICE_PORT']}",
        "SCHOOL_SERVICE_URL": f"http://{HOST}:{ports['SCHOOL_SERVICE_PORT']}",
        "STUDENT_SERVICE_URL": f"http://{HOST}:{ports['STUDENT_SERVICE_PORT']}",
        "SCHOOL_GRPC_ADDRESS": f"{HOST}:{ports['SCHOOL_GRPC_PORT']}",
        # Each process has its own cache file, since each replaces the whole file.
        "JWKS_CACHE": str(config.folder / f"jwks-{name}.json"),
    }
    kept = {key: value for key, value in environment.items() if is_setting(key) and key not in OF_STACK}
    found = {**own, **kept, **{setting: str(port) for setting, port in ports.items()}}
    if is_gateway(name):
        found.update(gateways.gateway_environment(config, name, environment))
        if config.balanced:  # HAProxy has the certificate
            found = {key: value for key, value in found.items() if key not in gateways.TLS}
    foreign = {"MONGODB_URI", GRPC_SECRET}
    return {
        **{key: value for key, value in found.items() if key not in foreign},
        **_credentials(config, name, environment),
    }


def _credentials(config: StackConfig, name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The credentials of this process that the stack makes or that not all processes have."""
    found: dict[str, str] = {}
    if name in mongodb_users.DATABASES:
        found["MONGODB_URI"] = mongodb_users.uri(config, name) if config.own_mongod else config.mongodb_uri
    if name in GRPC_SECRET_READERS:
        made = private_files.kept_secret(config.secrets / "school-grpc")
        if secret := environment.get(GRPC_SECRET, made):  # set and empty: none
            found[GRPC_SECRET] = secret
    if config.own_valkey:
        found["VALKEY_URL"] = valkey.url(config)
    return found


def write(config: StackConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Make the secrets that are missing, and write the environment file of each Python process.

    Also the administrator's file, with the URIs of the stack's own stores.
    """
    private_files.make_folder(config.secrets)
    private_files.secret(config.secrets / "school-grpc")
    administrator = {}
    if config.own_mongod:
        mongodb_users.prepare(config)
        administrator["MONGODB_URI"] = mongodb_users.uri(config, mongodb_users.ADMINISTRATOR)
    if config.own_valkey:
        valkey.prepare(config)
        administrator["VALKEY_URL"] = valkey.url(config)
    for name in python_processes(config):
        _write(config, name, settings_of(config, name, environment))
    _write(config, _ADMINISTRATOR, administrator)


def _write(config: StackConfig, name: str, variables: Mapping[str, str]) -> None:
    lines = [f"{key}={shlex.quote(value)}\n" for key, value in sorted(variables.items())]
    private_files.write(config.environment_file(name), "".join(lines))


def read(config: StackConfig, name: str) -> dict[str, str] | None:
    """The environment file of a process of the running stack; None if an earlier version has started it.

    Raises StackError if the file can't be read.
    """
    path = config.environment_file(name)
    try:
        words = shlex.split(path.read_text(errors="surrogateescape"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StackError(
            f"{path} can't be read ({error}): `uv run just down` and `uv run just up`"
        ) from error
    return dict(word.split("=", 1) for word in words)


def python_command(config: StackConfig, name: str) -> list[str]:
    """The command line of a Python process of the stack."""
    module = MODULES[API_GATEWAY if is_gateway(name) else name]
    return command(config, name, [sys.executable, "-m", module])


def command(config: StackConfig, name: str, words: list[str]) -> list[str]:
    """The command line that runs `words` with the environment file of a process. It shows no credentials."""
    return [*_RUN, str(config.environment_file(name)), *words]


def redacted(name: str, value: str) -> str:
    """A setting's value for a terminal: a secret is "(set)"."""
    secret = name in CREDENTIALS or (name.startswith("OTEL_") and name.endswith("HEADERS"))
    return "(set)" if secret and value else value
