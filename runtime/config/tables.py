"""The tables of breakers.toml, for pydantic.

Pydantic checks keys, types and kinds. The dataclasses of `actors` check ranges when they are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    GetCoreSchemaHandler,
    PlainValidator,
    Tag,
    TypeAdapter,
    with_config,
)
from pydantic_core import CoreSchema
from typing_extensions import TypedDict

from actors import (
    Adaptive,
    AdaptiveLimit,
    AnyOf,
    Backoff,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    ShadowPolicy,
    SlowCallRate,
    TripStrategy,
)
from actors.sharing.link import SharingPolicy
from protocols.topology import BREAKERS
from runtime.config.policies import Profile, ServiceType
from runtime.config.probe_spec import ProbeKind
from runtime.config.route_pattern import RoutePattern

_STRICT = ConfigDict(extra="forbid", strict=True)
"""Tables refuse unknown keys; no text or bool is taken for a number. Nested tables inherit it."""


class _FromTable:
    """Annotates a dataclass that a table is read into: strict validation would accept only an instance."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        resolved = cast("dict[str, Any]", handler.resolve_ref_schema(schema))
        resolved["strict"] = False  # its fields stay strict
        return schema


def _list_of(things: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, list) or not value:
            raise ValueError(f"must be a list of {things}, got {value!r}")
        return value

    return BeforeValidator(check)


class WindowTable(TypedDict, total=False):
    """A window: one of the keys."""

    last_calls: Annotated[int, AfterValidator(LastCalls)]
    last_seconds: Annotated[float, AfterValidator(LastSeconds)]


def _window(made: Mapping[str, Any]) -> Any:
    if len(made) != 1:
        raise ValueError(f"must have one of last_calls, last_seconds, got {' and '.join(made) or 'neither'}")
    [window] = made.values()
    return window


@with_config(_STRICT)
class _WindowField(TypedDict):
    window: Annotated[WindowTable, AfterValidator(_window)]


_WINDOW_FIELD = TypeAdapter(_WindowField)


def _fields(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy's fields: its table without `kind`, and with the window that its table describes."""
    fields = {key: value for key, value in table.items() if key != "kind"}
    if "window" in fields:
        fields.update(_WINDOW_FIELD.validate_python({"window": fields["window"]}))
    return fields


class AnyOfTable(TypedDict):
    """The fields of an AnyOf, whose `__init__` takes them one by one."""

    strategies: Annotated[list[Strategy], _list_of("strategies")]


def _any_of(table: Mapping[str, list[TripStrategy]]) -> AnyOf:
    return AnyOf(*table["strategies"])


def _kind(table: Any) -> str | None:
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        return None
    return "Adaptive" if kind == "adaptive" else kind


KINDS = ("ConsecutiveFailures", "FailureCount", "FailureRate", "SlowCallRate", "Adaptive", "AnyOf")
Strategy = Annotated[
    Annotated[ConsecutiveFailures, _FromTable, BeforeValidator(_fields), Tag("ConsecutiveFailures")]
    | Annotated[FailureCount, _FromTable, BeforeValidator(_fields), Tag("FailureCount")]
    | Annotated[FailureRate, _FromTable, BeforeValidator(_fields), Tag("FailureRate")]
    | Annotated[SlowCallRate, _FromTable, BeforeValidator(_fields), Tag("SlowCallRate")]
    | Annotated[Adaptive, _FromTable, BeforeValidator(_fields), Tag("Adaptive")]
    | Annotated[AnyOfTable, BeforeValidator(_fields), AfterValidator(_any_of), Tag("AnyOf")],
    Discriminator(_kind),
]
"""A trip strategy, by its `kind`."""

LIMIT_KINDS = ("AdaptiveLimit",)


def _limit_fields(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a limit's fields: its table without `kind`. Its `window` is a number of seconds."""
    return {key: value for key, value in table.items() if key != "kind"}


def _limit_kind(limit: Any) -> str | None:
    return _kind(limit) if isinstance(limit, dict) else "number"


Limit = Annotated[
    Annotated[int | None, Tag("number")]
    | Annotated[AdaptiveLimit, _FromTable, BeforeValidator(_limit_fields), Tag("AdaptiveLimit")],
    Discriminator(_limit_kind),
]
"""A number of calls at once, or a table with a `kind`."""


class ShadowTable(TypedDict, total=False):
    """The keys of a policy that decide when a breaker opens, waits and closes: those of ShadowPolicy."""

    max_failures: int
    reset_timeout: float
    trip: Strategy | None
    half_open_max_calls: int
    successes_to_close: int
    half_open_timeout: float | None
    half_open_failure_rate: float | None
    ramp: float | None
    in_flight_slow: bool
    backoff: Annotated[Backoff, _FromTable]


def _shadow(table: ShadowTable | None) -> ShadowPolicy | None:
    return None if table is None else ShadowPolicy(**cast("dict[str, Any]", table))


class PolicyTable(ShadowTable, total=False):
    """The keys of CircuitBreakerConfig that aren't code, without its name."""

    call_timeout: float | None
    max_concurrent: Limit
    max_queue: int
    queue_timeout: float | None
    cancel_in_flight: bool
    shadow: Annotated[ShadowTable | None, AfterValidator(_shadow)]


class ProbeTable(TypedDict):
    """The `probe` of a breaker."""

    kind: ProbeKind
    path: NotRequired[str]


Pattern = Annotated[RoutePattern, PlainValidator(RoutePattern.parse)]


class BreakerTable(PolicyTable, total=False):
    """The table of one breaker."""

    type: ServiceType
    probe: ProbeTable
    probe_interval: float
    routes: dict[str, Annotated[list[Pattern], _list_of("patterns")]]


def _breaker_name(name: str) -> str:
    if name not in BREAKERS:
        raise ValueError(f"unknown breaker; one of: {', '.join(BREAKERS)}")
    return name


@with_config(_STRICT)
class FileTable(TypedDict, total=False):
    """The whole file."""

    profile: Profile
    breakers: dict[Annotated[str, AfterValidator(_breaker_name)], BreakerTable]
    sharing: Annotated[SharingPolicy, _FromTable]


@with_config(_STRICT)
class PolicyChange(PolicyTable, total=False):
    """An admin's change of a policy."""


TABLES: Mapping[int | str, type] = {
    "backoff": Backoff,
    "probe": ProbeTable,
    "shadow": ShadowTable,
    "sharing": SharingPolicy,
    "window": WindowTable,
    "ConsecutiveFailures": ConsecutiveFailures,
    "FailureCount": FailureCount,
    "FailureRate": FailureRate,
    "SlowCallRate": SlowCallRate,
    "Adaptive": Adaptive,
    "AnyOf": AnyOfTable,
    "AdaptiveLimit": AdaptiveLimit,
}
"""The type of a table in a breaker's table or in the file: by its key, of a strategy or limit by its kind."""
