"""Paths reach their service byte for byte, or nothing at all."""

import pytest

from gateway.proxy.target import LocalTarget, NoRouteError, TargetError, UpstreamTarget, resolve, split
from gateway.routes import AUTH, SCHOOL, STUDENT

PROXIED = [
    (b"/auth/login", b"", AUTH, b"/login"),
    (b"/auth/", b"", AUTH, b"/"),
    (b"/auth//login", b"", AUTH, b"//login"),
    (b"/auth/auth/login", b"", AUTH, b"/auth/login"),
    (b"/auth/.well-known/jwks.json", b"", AUTH, b"/.well-known/jwks.json"),
    (b"/schools", b"", SCHOOL, b"/schools"),
    (b"/schools", b"?limit=10&after=3", SCHOOL, b"/schools?limit=10&after=3"),
    (b"/schools", b"?", SCHOOL, b"/schools?"),
    (b"/auth/x", b"??", AUTH, b"/x??"),
    (b"/schools/", b"", SCHOOL, b"/schools/"),
    (b"/schools/7", b"?a=&b", SCHOOL, b"/schools/7?a=&b"),
    (b"/schools/a%2Fb%20c+d", b"?x=%2F+%00", SCHOOL, b"/schools/a%2Fb%20c+d?x=%2F+%00"),
    (b"/schools/%0d%0aX:%201", b"", SCHOOL, b"/schools/%0d%0aX:%201"),
    (b"/schools/%252e%252e/x", b"", SCHOOL, b"/schools/%252e%252e/x"),
    (b"/schools/..x/x../...", b"", SCHOOL, b"/schools/..x/x../..."),
    (b"/schools/a;b=c%zz", b"?q=../..", SCHOOL, b"/schools/a;b=c%zz?q=../.."),
    (b"/students/school/4", b"", STUDENT, b"/students/school/4"),
]


@pytest.mark.parametrize(("path", "query", "service", "target"), PROXIED)
def test_a_service_gets_path_and_query_unchanged_without_the_prefix(path, query, service, target):
    resolved = resolve(path, query)
    assert isinstance(resolved, UpstreamTarget)
    assert (resolved.route.service, resolved.request_target) == (service, target)


@pytest.mark.parametrize(
    "path",
    [
        b"/auth",
        b"/authx/login",
        b"/AUTH/login",
        b"/school",
        b"/schoolsx",
        b"//schools",
        b"/x/schools",
        b"/schools%2F7",
        b"/%73chools",
        b"/auth%2flogin",
        b"/openapi.json",
        b"/health/",
        b"/docs/x",
        b"*",
        b"",
        # targets that leave their route after decoding
        b"/auth/../schools",
        b"/auth/..",
        b"/auth/.",
        b"/auth/./login",
        b"/auth/%2e%2e/schools",
        b"/auth/%2E./schools",
        b"/auth/.%2e%2fschools",
        b"/auth/x%2f..%2f..%2fschools",
        b"/auth/..%5cschools",
        b"/auth/..\\schools",
        b"/auth/..;/schools",
        b"/auth/%2e%2e%3bx=y/schools",
        b"/auth/.;",
        b"/docs/assets/../../schools",
        b"/docs/assets/%2e%2e/health",
    ],
)
def test_a_path_without_a_route_is_not_found(path):
    with pytest.raises(NoRouteError):
        resolve(path, b"")


PAGES = [
    b"health",
    b"livez",
    b"readyz",
    b"metrics",
    b"breakers",
    b"breakers/events",
    b"breakers/auth-database/trip",
    b"admin",
    b"admin/breakers",
    b"admin/breakers/auth-database/trip",
    b"administration",
    b"openapi.json",
    b"docs",
    b"docs/assets/x.js",
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "spelt",
    [
        lambda page: b"/auth/" + page,
        lambda page: b"/auth/" + page + b"/",
        lambda page: b"/auth//" + page,
        lambda page: b"/auth/" + page.replace(b"/", b"//"),
        lambda page: b"/auth/%2F" + page,
        lambda page: b"/auth/" + b"".join(b"%%%02x" % byte for byte in page),
        lambda page: b"/auth/" + b"".join(b"%%%02X" % byte for byte in page),
        lambda page: b"/auth/%25" + b"%02x" % page[0] + page[1:],
        lambda page: b"/auth/%2525" + b"%02x" % page[0] + page[1:],
        lambda page: b"/auth/" + page + b";a=b",
        lambda page: b"/auth/" + page + b"%3Ba=b",
        lambda page: b"/auth/;a=b/" + page,
        lambda page: b"/auth\\" + page,
        lambda page: b"/auth/\\" + page,
        lambda page: b"/auth/%5c" + page,
        lambda page: b"/auth/%252e/" + page,
        lambda page: b"/auth/" + page.upper(),
        lambda page: b"/auth/" + page + b"%20",
        lambda page: b"/auth/%00" + page,
        lambda page: b"/auth/" + page + b"%23x",
        lambda page: b"/auth/" + page + b"%3fx",
    ],
)
def test_a_services_own_pages_are_not_found_in_any_spelling(page, spelt):
    with pytest.raises(NoRouteError):
        resolve(spelt(page), b"")


@pytest.mark.parametrize(
    "path", [b"/auth/healthy", b"/auth/login/health", b"/auth/readyzx", b"/schools/health"]
)
def test_a_path_that_only_resembles_a_page_is_passed_on(path):
    assert isinstance(resolve(path, b""), UpstreamTarget)


@pytest.mark.parametrize(
    "path", [b"/", b"/health", b"/livez", b"/readyz", b"/metrics", b"/docs", b"/docs/assets/x.js"]
)
def test_the_gateways_own_pages_are_found(path):
    assert resolve(path, b"?a=b") == LocalTarget(path)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/schools", (None, b"/schools", b"")),
        (b"/schools?", (None, b"/schools", b"?")),
        (b"/schools??a=?", (None, b"/schools", b"??a=?")),
        (b"//evil/schools?a", (None, b"//evil/schools", b"?a")),
        (b"http://gateway:8080/schools/1?b", (b"gateway:8080", b"/schools/1", b"?b")),
        (b"HTTPS://gateway", (b"gateway", b"/", b"")),
        (b"http://gateway?a=b", (b"gateway", b"/", b"?a=b")),
        (b"http://[2001:db8::1]:80/x", (b"[2001:db8::1]:80", b"/x", b"")),
    ],
)
def test_an_absolute_target_is_split_into_host_path_and_query(target, parts):
    assert split(target) == parts


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"schools",
        b"",
        b"http:///x",
        b"http://u@h/x",
        b"http://:80/x",
        b"http://a:b/x",
        b"http://a,b/x",
        b"http://[::1/x",
        b'http://a"b/x',
        b"ftp://h/x",
        b"gateway:8080",
        b"/a#b",
        b"/a?b#c",
    ],
)
def test_an_invalid_target_is_refused(target):
    with pytest.raises(TargetError):
        split(target)
