"""Probes and routes in breakers.toml: read, checked, and kept until the next start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import structlog

from actors import CircuitBreakerConfig
from runtime.config.policies import BadConfiguration
from runtime.config.policy_file import load_breakers, load_configuration
from runtime.config.policy_reader import changed_policy
from runtime.config.probe_spec import ProbeSpec
from runtime.config.route_pattern import RoutePattern

AUTH, DATABASE, GRPC = "auth-service-http", "auth-database", "student-service-grpc"
HTTP_PROBE = 'probe = { kind = "http", path = "/" }'
Write = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "breakers.toml"
        path.write_text(text)
        return path

    return write


PROBED = f"""
[breakers.{AUTH}]
probe = {{ kind = "http", path = "/readyz" }}
probe_interval = 5
[breakers.{DATABASE}]
probe = {{ kind = "ping" }}
[breakers.{GRPC}]
probe = {{ kind = "grpc.health" }}
probe_interval = 2.5
[breakers.{AUTH}.routes]
login = ["POST /auth/login", "POST /auth/refresh"]
one = ["GET /users/*"]
"""


def test_probes_are_read(written: Write) -> None:
    assert load_configuration(written(PROBED), None).probes == {
        AUTH: ProbeSpec("http", "/readyz", 5),
        DATABASE: ProbeSpec("ping"),
        GRPC: ProbeSpec("grpc.health", interval=2.5),
    }


def test_policies_get_the_probes_that_a_process_makes(written: Write) -> None:
    found = load_configuration(written(PROBED), None)
    asked = []

    async def probe() -> None:
        """Never run."""

    def maker(name: str) -> Callable:
        def make(spec: ProbeSpec) -> Callable:
            asked.append((name, spec))
            return probe

        return make

    policies = found.with_probes({name: maker(name) for name in found.breakers})
    assert dict(asked) == found.probes
    assert (policies[AUTH].probe, policies[AUTH].probe_interval) == (probe, 5)
    assert (policies[DATABASE].probe, policies[DATABASE].probe_interval) == (probe, None)
    assert policies["school-database"].probe is None
    assert policies.keys() == found.breakers.keys()
    assert all(config.probe is None and config.probe_interval is None for config in found.breakers.values())


def matching(routes: Mapping[str, tuple[RoutePattern, ...]], method: str, path: str) -> list[str]:
    """The routes that a request matches."""
    return [name for name, patterns in routes.items() if any(one.matches(method, path) for one in patterns)]


def test_routes_are_read(written: Write) -> None:
    routes = load_configuration(written(PROBED), None).routes
    assert {name: list(each) for name, each in routes.items()} == {AUTH: ["login", "one"]}
    login = routes[AUTH]["login"]
    assert [str(pattern) for pattern in login] == ["POST /auth/login", "POST /auth/refresh"]
    assert matching(routes[AUTH], "POST", "/auth/refresh") == ["login"]
    assert matching(routes[AUTH], "GET", "/users/7") == ["one"]
    assert matching(routes[AUTH], "GET", "/users") == []


def test_a_file_without_probes_and_routes_has_none(written: Write) -> None:
    found = load_configuration(written(""), None)
    assert found.probes == found.routes == {}


@pytest.mark.parametrize(
    ("pattern", "method", "path", "matches"),
    [
        ("GET /", "GET", "/", True),
        ("GET /", "GET", "/a", False),
        ("GET /a/*", "GET", "/a/b", True),
        ("GET /a/*", "GET", "/a/", False),
        ("GET /a/*", "GET", "/a/b/c", False),
        ("GET /a/*/c", "GET", "/a/b/c", True),
        ("GET /a", "POST", "/a", False),
        ("GET /a", "GET", "/a/", False),
        ("GET /a/", "GET", "/a/", True),
        ("GET /*", "GET", "/a", True),
    ],
)
def test_a_star_matches_one_segment(pattern: str, method: str, path: str, matches: bool) -> None:
    assert RoutePattern.parse(pattern).matches(method, path) is matches


@pytest.mark.parametrize(
    ("lines", "key", "reason"),
    [
        ("probe_interval = 5", "probe_interval", "needs probe"),
        (f"{HTTP_PROBE}\nprobe_interval = 0", "probe_interval", "a number above 0, got 0"),
        (f'{HTTP_PROBE}\nprobe_interval = "5"', "probe_interval", "got '5'"),
        ('probe = "ping"', "probe", "must be a table, got 'ping'"),
        ("probe = {}", "probe.kind", "is missing"),
        ('probe = { kind = "icmp" }', "probe.kind", "must be one of http, ping, grpc.health, got 'icmp'"),
        ("probe = { kind = 5 }", "probe.kind", "must be one of http, ping, grpc.health, got 5"),
        ("probe = { kind = [] }", "probe.kind", "must be one of http, ping, grpc.health, got []"),
        ('probe = { kind = "ping", path = "/" }', "probe.path", "is for kind http alone, got '/'"),
        ('probe = { kind = "grpc.health", path = "/" }', "probe.path", "is for kind http alone"),
        ('probe = { kind = "http" }', "probe", "path must begin with /, and be"),
        ('probe = { kind = "http", path = "readyz" }', "probe.path", "got 'readyz'"),
        ('probe = { kind = "http", path = "/a b" }', "probe.path", "got '/a b'"),
        ('probe = { kind = "http", path = "/a\\r\\nX: y" }', "probe.path", "path must begin with /"),
        ('probe = { kind = "http", path = "/é" }', "probe.path", "path must begin with /"),
        ('probe = { kind = "http", path = 7 }', "probe.path", "got 7"),
        ('probe = { kind = "ping" }', "probe.kind", "must be http for this breaker, got 'ping'"),
        ('probe = { kind = "grpc.health" }', "probe.kind", "must be http for this breaker"),
        ('probe = { kind = "ping", interval = 5 }', "probe.interval", "unknown key; one of: kind, path"),
        ("routes = 5", "routes", "must be a table, got 5"),
        ("routes.a = 5", "routes.a", "must be a list of patterns, got 5"),
        ("routes.a = []", "routes.a", "must be a list of patterns, got []"),
        ("routes.a = [5]", "routes.a[0]", "must be such as 'GET /users/*', got 5"),
        ('routes.a = ["GET /b", "/a"]', "routes.a[1]", "must be such as 'GET /users/*', got '/a'"),
        ('routes.a = ["get /a"]', "routes.a[0]", "got 'get /a'"),
        ('routes.a = ["GET a"]', "routes.a[0]", "got 'GET a'"),
        ('routes.a = ["GET  /a"]', "routes.a[0]", "got 'GET  /a'"),
        ('routes.a = ["GET /a*"]', "routes.a[0]", "got 'GET /a*'"),
        ('routes.a = ["GET /a?b=c"]', "routes.a[0]", "got 'GET /a?b=c'"),
        ('routes.a = ["GET /a"]\nroutes.b = ["GET /a"]', "routes.b[0]", "is in route a already"),
    ],
)
def test_an_invalid_probe_or_route_is_reported_with_its_key(
    written: Write, lines: str, key: str, reason: str
) -> None:
    path = written(f"[breakers.{AUTH}]\n{lines}")
    with pytest.raises(BadConfiguration) as caught:
        load_breakers(path, None)
    [problem] = caught.value.problems
    assert problem.key == f"breakers.{AUTH}.{key}"
    assert reason in problem.reason
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "lines", "key", "reason"),
    [
        (DATABASE, HTTP_PROBE, "probe.kind", "must be ping for this breaker"),
        (GRPC, 'probe = { kind = "ping" }', "probe.kind", "must be grpc.health for this breaker"),
        (GRPC, 'routes.a = ["GET /a"]', "routes", "only a breaker of HTTP requests has routes"),
    ],
)
def test_a_probe_has_the_kind_of_its_dependency(
    written: Write, name: str, lines: str, key: str, reason: str
) -> None:
    path = written(f"[breakers.{name}]\n{lines}")
    with pytest.raises(BadConfiguration) as caught:
        load_breakers(path, None)
    [problem] = caught.value.problems
    assert problem.key == f"breakers.{name}.{key}"
    assert reason in problem.reason


@pytest.mark.parametrize("key", ["probe", "probe_interval", "routes"])
def test_an_operator_cannot_change_probes_or_routes(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: "):
        changed_policy(CircuitBreakerConfig(name="it"), {key: None})


def test_a_change_is_warned_about_and_waits_for_the_next_start(written: Write) -> None:
    path = written(PROBED)
    started = load_breakers(path, None)
    with structlog.testing.capture_logs() as logs:
        assert load_breakers(path, None) == started
        assert logs == []
        written(PROBED.replace("/readyz", "/healthz").replace("POST /auth/refresh", "POST /x"))
        assert load_breakers(path, None) == started
    assert logs == [
        {
            "event": "probes and routes take effect at the next start",
            "log_level": "warning",
            "file": str(path),
            "breakers": [AUTH],
        }
    ]


def test_a_file_looked_at_before_is_compared_with_too(written: Write) -> None:
    path = written(PROBED)
    load_configuration(path, None)
    with structlog.testing.capture_logs() as logs:
        load_breakers(written(""), None)
    assert [entry["breakers"] for entry in logs] == [[AUTH, DATABASE, GRPC]]
    assert path.exists()
