"""`just settings`: all settings, their defaults, and their values in this shell."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module

from rich.console import Console
from rich.table import Table

from protocols.topology import API_GATEWAY, AUTH_SERVICE, PORTS, SCHOOL_SERVICE, STUDENT_SERVICE
from runtime.config.settings import ProcessSettings, is_secret
from runtime.observability.redaction import redact

# The modules that declare the settings of each process. They are imported by name, since deploy must not
# depend on the processes' packages.
_MODULES = {
    API_GATEWAY: "gateway.settings",
    AUTH_SERVICE: "services.auth.__main__",
    SCHOOL_SERVICE: "services.school.__main__",
    STUDENT_SERVICE: "services.student.__main__",
}


# By the end of a setting's name.
_UNITS = {
    "_TIMEOUT": "s",
    "_DELAY": "s",
    "_GRACE": "s",
    "_BYTES": "bytes",
    "_RATE": "bytes/s",
    "_PER_MINUTE": "requests",
    "_PER_HOUR": "requests",
}


@dataclass(frozen=True)
class Setting:
    """One setting. default: with its unit; empty if there is none. owners: the processes that read it."""

    default: str
    is_secret: bool
    owners: tuple[str, ...]


def main() -> None:
    """Print all settings, their defaults, and their values in this shell. Secrets are printed as "(set)"."""
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "default", "in this shell", "used by"):
        table.add_column(heading, overflow="fold")
    for name, setting in sorted(settings().items()):
        value = os.environ.get(name, "")
        used_by = "every process" if len(setting.owners) == len(_MODULES) else ", ".join(setting.owners)
        shown = "(set)" if setting.is_secret and value else redact(value)
        table.add_row(name, setting.default, shown, used_by)
    Console(highlight=False, soft_wrap=True).print(table)


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
    just = {"STACK_DIR": ".stack", "GATEWAY_INSTANCES": "1"}
    return {**ports, **{name: Setting(default, False, ("just",)) for name, default in just.items()}, **found}


def with_unit(name: str, default: object) -> str:
    """A default as text with its unit: "10 s" for 10.0 of a setting that ends in _TIMEOUT."""
    if default in (None, ()):
        return ""
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    text = f"{default:g}" if isinstance(default, float) else str(default)
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
