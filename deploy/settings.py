"""`just settings`: every setting of every process, its default and what it is now."""

from __future__ import annotations

import os
from collections import defaultdict
from importlib import import_module

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from protocols.topology import API_GATEWAY, AUTH_SERVICE, PORTS, SCHOOL_SERVICE, STUDENT_SERVICE
from runtime.config.settings import ProcessSettings, is_secret
from runtime.observability.redaction import redact

# Where each process declares its settings; loaded by name, for operator tooling stands outside the packages.
_MODULES = {
    API_GATEWAY: "gateway.settings",
    AUTH_SERVICE: "services.auth.__main__",
    SCHOOL_SERVICE: "services.school.__main__",
    STUDENT_SERVICE: "services.student.__main__",
}


def main() -> None:
    """Print the table; a secret's value is not in it."""
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "default", "now", "used by"):
        table.add_column(heading, overflow="fold")
    for name, (default, secret, owners) in sorted(found().items()):
        now = os.environ.get(name, "")
        used_by = "every process" if len(owners) == len(_MODULES) else ", ".join(owners)
        table.add_row(name, default, "(set)" if secret and now else redact(now), used_by)
    Console(highlight=False, soft_wrap=True).print(table)


def found() -> dict[str, tuple[str, bool, list[str]]]:
    """Each setting: its default as text, whether it is a secret, and whose it is."""
    owners: dict[str, list[str]] = defaultdict(list)
    defaults: dict[str, tuple[str, bool]] = {}
    for process, module in _MODULES.items():
        for cls in vars(import_module(module)).values():
            if not (
                isinstance(cls, type) and issubclass(cls, ProcessSettings) and cls is not ProcessSettings
            ):
                continue
            for field, info in cls.model_fields.items():
                default = info.get_default(call_default_factory=True)
                if isinstance(default, SecretStr):
                    default = default.get_secret_value()  # a default is public
                defaults[field.upper()] = ("" if default is None else str(default), is_secret(cls, field))
                owners[field.upper()].append(process)
    own = {name: (str(default), False, [owner]) for name, (owner, default) in PORTS.items()}
    stack = {"STACK_DIR": (".stack", False, ["the stack's own files"])}
    declared = {name: (*defaults[name], owners[name]) for name in defaults}
    return {**own, **stack, **declared}


if __name__ == "__main__":
    main()
