"""Which fields cross the gateway."""

import pytest

from gateway.proxy.headers import (
    MOST_FORWARDS,
    Framing,
    Sender,
    content_length,
    forwards_left,
    interim_fields,
    request_fields,
    request_framing,
    response_fields,
    trailer_fields,
)

SENDER = Sender("192.0.2.7", "http", b"school.example:8080", "1.1")
NO_BODY = Framing(0)
ADDED = [
    (b"x-forwarded-for", b"192.0.2.7"),
    (b"x-forwarded-proto", b"http"),
    (b"x-forwarded-host", b"school.example:8080"),
    (b"forwarded", b'for=192.0.2.7;host="school.example:8080";proto=http'),
    (b"via", b"1.1 api-gateway"),
    (b"x-request-id", b"id-1"),
    (b"x-request-timeout-ms", b"28500"),
]


def outward(fields, sender=SENDER, framing=NO_BODY):
    return request_fields(fields, sender, framing, request_id=b"id-1", timeout_ms=28_500)


def inward(fields):
    return response_fields(fields, request_id=b"id-1")


def test_end_to_end_fields_of_a_request_are_kept():
    """With their order, duplicates and bytes."""
    kept = [
        (b"accept", b"a"),
        (b"cookie", b"x=\xe9\xff"),
        (b"accept", b"b"),
        (b"via", b"1.0 before"),
        (b"authorization", b"Bearer t"),
        (b"content-length", b"3"),
    ]
    sent = outward([(b"host", b"school.example:8080"), *kept], framing=Framing(3))
    assert sent == [(b"host", b"school.example:8080"), *kept, *ADDED]


@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"proxy-whatever",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
        b"expect",
        b"x-failure-origin",
        b"x-handler-failure",
        b"x-forwarded-port",
        b"x-forwarded-user",
        b"x-real-ip",
    ],
)
def test_hop_by_hop_and_forged_fields_of_a_request_are_dropped(name):
    assert outward([(name, b"x")]) == [(b"host", b"school.example:8080"), *ADDED]


@pytest.mark.parametrize(
    "name",
    [
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"forwarded",
        b"x-request-id",
        b"x-request-timeout-ms",
        b"host",
    ],
)
def test_a_field_of_the_gateways_own_cannot_be_forged_or_removed(name):
    sent = outward([(name, b"spoofed"), (b"connection", name)])
    assert sent == [(b"host", b"school.example:8080"), *ADDED]


def test_fields_that_connection_lists_are_dropped_except_framing():
    sent = outward(
        [
            (b"connection", b"X-One, close"),
            (b"x-one", b"1"),
            (b"connection", b"x-two,content-length,host"),
            (b"x-two", b"2"),
            (b"content-length", b"5"),
        ],
        framing=Framing(5),
    )
    assert sent == [(b"host", b"school.example:8080"), (b"content-length", b"5"), *ADDED]


def test_a_body_of_unknown_length_is_chunked():
    sent = outward([(b"transfer-encoding", b"chunked")], framing=Framing(None))
    assert sent == [(b"host", b"school.example:8080"), *ADDED, (b"transfer-encoding", b"chunked")]


def test_an_ipv6_address_is_quoted_in_forwarded():
    """RFC 7239. A quote in a host can't end the string."""
    sent = dict(outward([], Sender("2001:db8::1", "https", b'a"b', "2")))
    assert sent[b"forwarded"] == b'for="[2001:db8::1]";host="a\\"b";proto=https'
    assert sent[b"via"] == b"2 api-gateway"


def test_a_response_keeps_its_fields_and_gets_the_requests_id():
    """The first of several dates stays."""
    kept = [
        (b"set-cookie", b"a=\xff"),
        (b"set-cookie", b"b"),
        (b"server", b"s"),
        (b"content-length", b"2"),
        (b"date", b"then"),
    ]
    assert inward(kept) == [*kept, (b"x-request-id", b"id-1")]
    assert inward([]) == [(b"x-request-id", b"id-1")]
    two = [(b"date", b"then"), (b"a", b"b"), (b"date", b"later")]
    assert inward(two) == [(b"a", b"b"), (b"date", b"then"), (b"x-request-id", b"id-1")]


def test_hop_by_hop_and_charging_fields_of_a_response_are_dropped():
    """Also a length beside a transfer coding."""
    sent = inward(
        [
            (b"connection", b"x-hop"),
            (b"x-hop", b"1"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-authenticate", b"Basic"),
            (b"proxy-whatever", b"x"),
            (b"upgrade", b"h2c"),
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"9"),
            (b"x-failure-origin", b"auth-database"),
            (b"x-handler-failure", b"1"),
            (b"x-request-id", b"other"),
            (b"date", b"then"),
        ]
    )
    assert sent == [(b"date", b"then"), (b"x-request-id", b"id-1")]


@pytest.mark.parametrize(
    ("method", "values", "left"),
    [
        ("OPTIONS", [b"3"], 3),
        ("TRACE", [b"000"], 0),
        ("OPTIONS", [b"0" * 20_000], 0),
        ("OPTIONS", [b"9" * 20_000], MOST_FORWARDS),
        ("OPTIONS", [b"0999999999"], 999_999_999),
        ("OPTIONS", [], None),
        ("OPTIONS", [b"x"], None),
        ("OPTIONS", [b"-1"], None),
        ("OPTIONS", [b"\xb2"], None),
        ("OPTIONS", [b"1", b"0"], None),
        ("GET", [b"0"], None),
    ],
)
def test_max_forwards_is_read_for_options_and_trace_alone(method, values, left):
    assert forwards_left(method, [(b"max-forwards", value) for value in values]) == left


@pytest.mark.parametrize(
    ("fields", "version", "bodiless", "length"),
    [
        ([], "1.1", False, 0),
        ([(b"content-length", b"0")], "1.1", False, 0),
        ([(b"content-length", b"12")], "1.1", False, 12),
        ([(b"transfer-encoding", b"chunked")], "1.1", False, None),
        ([], "2", True, 0),
        ([], "2", False, None),
        ([(b"content-length", b"4")], "2", False, 4),
    ],
)
def test_framing_is_the_bodys_length_or_none(fields, version, bodiless, length):
    assert request_framing(fields, version, bodiless=bodiless) == Framing(length)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([(b"content-length", b"7")], 7),
        ([], None),
        ([(b"content-length", b"7"), (b"transfer-encoding", b"chunked")], None),
        ([(b"content-length", b"7"), (b"content-length", b"7")], None),
    ],
)
def test_a_responses_length_is_none_unless_reliable(fields, length):
    assert content_length(fields) == length


@pytest.mark.parametrize("name", [b"x-failure-origin", b"x-handler-failure"])
def test_charging_fields_reach_no_client_and_no_service(name):
    """Neither as fields nor as trailers."""
    assert trailer_fields([(name, b"1")]) == interim_fields([(name, b"1")]) == []
