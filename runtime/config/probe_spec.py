"""The probe that breakers.toml configures for a breaker. A process makes the call from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from actors.policy.checks import positive_number

ProbeKind = Literal["http", "ping", "grpc.health"]
KINDS: tuple[ProbeKind, ...] = get_args(ProbeKind)
_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A request that checks a dependency.

    kind: `http`: GET `path`; `ping`: a database's ping; `grpc.health`: the standard health service.
    interval: seconds between probes while the breaker is open; None: probes run only while half-open.

    Raises ValueError naming field, value and range.
    """

    kind: ProbeKind
    path: str | None = None
    interval: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind != "http":
            if self.path is not None:
                raise ValueError(f"path is for kind http alone, got {self.path!r}")
        elif not isinstance(self.path, str) or not _PATH.fullmatch(self.path):
            raise ValueError(f"path must begin with /, and be of ASCII without spaces, got {self.path!r}")
        if self.interval is not None:
            positive_number("probe_interval", self.interval)
