"""`just settings`: all settings, with the values of the running stack, and what each means."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module

from deploy import environments
from deploy.config import StackConfig, StackError, stack_config
from deploy.setting_table import GRPC_SECRET, GRPC_SECRET_READERS, OF_STACK, SETTINGS
from deploy.supervisor import StackSupervisor
from protocols.topology import API_GATEWAY, AUTH_SERVICE, PORTS, SCHOOL_SERVICE, STUDENT_SERVICE, is_gateway
from runtime.config.settings import ProcessSettings, is_secret
from runtime.observability.printable import printable
from runtime.observability.redaction import redact

# The modules that declare the settings of each process. They are imported by name, since deploy must not
# depend on the processes' packages.
_MODULES = {
    API_GATEWAY: "gateway.settings",
    AUTH_SERVICE: "services.auth.__main__",
    SCHOOL_SERVICE: "services.school.__main__",
    STUDENT_SERVICE: "services.student.__main__",
}
# Described before the processes read them.
_EXPECTED_READERS = {GRPC_SECRET: GRPC_SECRET_READERS, "OPERATIONS_PORT": (API_GATEWAY,)}
_STACK_DEFAULTS = {"STACK_DIR": ".stack", "GATEWAY_INSTANCES": "1"}

Environments = Mapping[str, Mapping[str, str]]
"""By process, its environment variables; those of `just` under an empty name."""


@dataclass(frozen=True)
class Setting:
    """One setting. default: with its unit; empty if there is none. owners: the processes that read it."""

    default: str
    is_secret: bool
    owners: tuple[str, ...]


def main() -> None:
    """Print all settings: value, default, meaning and readers. Secrets are printed as "(set)"."""
    try:
        config = stack_config()
        found = running_environments(config.saved())
    except StackError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    if found is None:
        print("The stack is down. `uv run just up` in this shell would start it with these values:\n")
    else:
        print("The values of the running stack; another value needs `uv run just down`, then `up`:\n")
    everywhere = dict.fromkeys(("", *_MODULES), os.environ)
    for name, setting in sorted(settings().items()):
        print(*lines(name, setting, everywhere if found is None else found), sep="\n")


def running_environments(config: StackConfig) -> Environments | None:
    """The environments with which the running stack was started; None if it is down.

    Raises StackError if an earlier version has started it.
    """
    if not StackSupervisor(config).is_alive():
        return None
    own = {name: str(port) for name, port in config.ports.items()}
    own |= {"STACK_DIR": str(config.folder), "GATEWAY_INSTANCES": str(config.gateways)}
    found: dict[str, Mapping[str, str]] = {"": own}
    for name in environments.python_processes(config):
        variables = environments.read(config, name)
        if variables is None:
            raise StackError(
                "an earlier version has started the stack: its values are unknown; `uv run just down`, then "
                "`uv run just up`"
            )
        found[name] = variables
    return found


def lines(name: str, setting: Setting, found: Environments) -> Iterator[str]:
    """The two lines of a setting: value and default, then meaning and readers."""
    values = _values(name, setting, found)
    default = setting.default or "not set"
    if not any(values.values()) and "" not in values.values():
        yield f"{name}  {default}"
    else:
        yield f"{name}  {_joined(name, setting, values)}  (default: {default})"
    readers = "every process" if len(setting.owners) == len(_MODULES) else ", ".join(setting.owners)
    meaning = SETTINGS[name].meaning if name in SETTINGS else "it has no description"
    yield f"    {meaning[0].upper()}{meaning[1:]}. Read by {readers}."


def _values(name: str, setting: Setting, found: Environments) -> dict[str, str | None]:
    """By process, the value that it was started with; None for its default."""
    readers = [
        process for process in found if (API_GATEWAY if is_gateway(process) else process) in setting.owners
    ]
    return {process: found[process].get(name) for process in readers or [""]}


def _joined(name: str, setting: Setting, values: Mapping[str, str | None]) -> str:
    """The value that all processes have, or each value with its processes."""
    shown: dict[str, list[str]] = {}
    for process, value in values.items():
        shown.setdefault(_shown(name, setting, value), []).append(process)
    if len(shown) == 1:
        return next(iter(shown))
    return ", ".join(f"{text} ({' and '.join(processes)})" for text, processes in shown.items())


def _shown(name: str, setting: Setting, value: str | None) -> str:
    if value is None:
        return setting.default or "not set"
    if not value:
        return "empty"
    if setting.is_secret:
        return "(set)"
    return with_unit(name, printable(redact(value)))


def settings() -> dict[str, Setting]:
    """All settings of the stack and of its processes, by the name of the environment variable."""
    found: dict[str, Setting] = {}
    for process, module in _MODULES.items():
        for cls in _settings_classes(module):
            for field, info in cls.model_fields.items():
                name = field.upper()
                owners = found[name].owners if name in found else ()
                default = with_unit(name, info.get_default(call_default_factory=True))
                found[name] = Setting(default, is_secret(cls, field), (*owners, process))
    ports = {name: Setting(str(port), False, (owner,)) for name, (owner, port) in PORTS.items()}
    just = {name: Setting(_STACK_DEFAULTS[name], False, ("just",)) for name in OF_STACK}
    expected = {
        name: Setting("", name == GRPC_SECRET, readers) for name, readers in _EXPECTED_READERS.items()
    }
    return {**ports, **just, **expected, **found}


def with_unit(name: str, value: object) -> str:
    """A value as text with its unit: "10 s" for 10.0 of a setting that is measured in seconds."""
    if value in (None, ()):
        return ""
    unit = SETTINGS[name].unit if name in SETTINGS else ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".strip()


def _settings_classes(module: str) -> list[type[ProcessSettings]]:
    return [
        cls
        for cls in vars(import_module(module)).values()
        # Not the base classes that the module imports.
        if isinstance(cls, type) and issubclass(cls, ProcessSettings) and cls.__module__ == module
    ]


if __name__ == "__main__":
    main()
