"""The client of a request, behind trusted proxies."""

import pytest

from gateway.proxy.trusted_proxies import MOST_HOPS, ForwardedClient, TrustedProxies, read_networks

TRUST = TrustedProxies(read_networks("10.0.0.0/8, 192.0.2.1,, fd00::/8"))


def said(**fields):
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]


@pytest.mark.parametrize(
    ("peer", "fields", "origin"),
    [
        # this peer is no trusted proxy: it is the client, whatever its fields claim
        ("198.51.100.9", said(x_forwarded_for="203.0.113.5"), ForwardedClient("198.51.100.9")),
        ("10.0.0.1", [], ForwardedClient("10.0.0.1")),
        ("10.0.0.1", said(x_forwarded_for="203.0.113.5"), ForwardedClient("203.0.113.5", ("10.0.0.1",))),
        # the last address that isn't trusted is the client; earlier ones are its own claims
        (
            "10.0.0.1",
            said(x_forwarded_for="6.6.6.6, 203.0.113.5 , 192.0.2.1"),
            ForwardedClient("203.0.113.5", ("192.0.2.1", "10.0.0.1")),
        ),
        # all of them are trusted: the first one is the client itself
        (
            "10.0.0.1",
            said(x_forwarded_for="10.0.0.3,10.0.0.2"),
            ForwardedClient("10.0.0.3", ("10.0.0.2", "10.0.0.1")),
        ),
        # an invalid address ends the list
        ("10.0.0.1", said(x_forwarded_for="203.0.113.5, unknown"), ForwardedClient("10.0.0.1")),
        (
            "10.0.0.1",
            said(x_forwarded_for="6.6.6.6, x, 10.0.0.2"),
            ForwardedClient("10.0.0.2", ("10.0.0.1",)),
        ),
        ("10.0.0.1", said(x_forwarded_for="203.0.113.5:4711"), ForwardedClient("203.0.113.5", ("10.0.0.1",))),
        (
            "::ffff:10.0.0.1",
            said(x_forwarded_for="[2001:db8::1]:80"),
            ForwardedClient("2001:db8::1", ("::ffff:10.0.0.1",)),
        ),
        ("fd00::1", said(x_forwarded_for="2001:db8::1"), ForwardedClient("2001:db8::1", ("fd00::1",))),
        # Forwarded counts if there is no X-Forwarded-For
        (
            "10.0.0.1",
            said(forwarded='for=6.6.6.6, for="[2001:db8::1]:80";proto=https, FOR=10.0.0.2'),
            ForwardedClient("2001:db8::1", ("10.0.0.2", "10.0.0.1")),
        ),
        ("10.0.0.1", said(forwarded="by=203.0.113.5"), ForwardedClient("10.0.0.1")),
        # a list with an invalid part is ignored as a whole: an open quote could hide its end
        ("10.0.0.1", said(forwarded='for=6.6.6.6;x=", for="[2001:db8::1]"'), ForwardedClient("10.0.0.1")),
        ("10.0.0.1", said(forwarded="for=203.0.113.5;"), ForwardedClient("10.0.0.1")),
        ("10.0.0.1", said(forwarded="for=203.0.113.5 x"), ForwardedClient("10.0.0.1")),
        # a comma within quotes doesn't end an element
        (
            "10.0.0.1",
            said(forwarded='for=203.0.113.5;x="\\",for=6.6.6.6";HOST="b:80"; Proto=HTTPS'),
            ForwardedClient("203.0.113.5", ("10.0.0.1",), "https", b"b:80"),
        ),
        # Forwarded's host and scheme count if its address does, and not beside X-Forwarded-For
        (
            "10.0.0.1",
            said(forwarded="for=203.0.113.5;host=a;proto=http,for=10.0.0.2;host=b;proto=https"),
            ForwardedClient("203.0.113.5", ("10.0.0.2", "10.0.0.1"), "https", b"b"),
        ),
        (
            "10.0.0.1",
            said(x_forwarded_for="203.0.113.5", forwarded="for=6.6.6.6;host=a;proto=https"),
            ForwardedClient("203.0.113.5", ("10.0.0.1",)),
        ),
        # scheme and host of the request to the first proxy
        (
            "10.0.0.1",
            said(x_forwarded_for="203.0.113.5", x_forwarded_proto="http, HTTPS", x_forwarded_host="a, b:80"),
            ForwardedClient("203.0.113.5", ("10.0.0.1",), "https", b"b:80"),
        ),
        ("10.0.0.1", said(x_forwarded_proto="gopher", x_forwarded_host='a"b'), ForwardedClient("10.0.0.1")),
    ],
)
def test_the_client_is_the_nearest_address_that_is_no_trusted_proxy(peer, fields, origin):
    assert TRUST.client(peer, fields) == origin


def test_several_x_forwarded_for_fields_are_one_list():
    fields = [(b"x-forwarded-for", b"6.6.6.6, 203.0.113.5"), (b"x-forwarded-for", b"10.0.0.2")]
    assert TRUST.client("10.0.0.1", fields) == ForwardedClient("203.0.113.5", ("10.0.0.2", "10.0.0.1"))


def test_a_chain_of_ten_thousand_proxies_is_not_read():
    origin = TRUST.client("10.0.0.1", said(x_forwarded_for="10.0.0.2," * 10_000 + "10.0.0.2"))
    assert len(origin.hops) == MOST_HOPS


def test_no_proxy_is_trusted_by_default():
    assert TrustedProxies().client("127.0.0.1", said(x_forwarded_for="203.0.113.5")) == ForwardedClient(
        "127.0.0.1"
    )


@pytest.mark.parametrize("text", ["x", "10.0.0.0/33", "10.0.0.1/8", "localhost"])
def test_an_invalid_network_is_refused(text):
    with pytest.raises(ValueError):
        read_networks(text)
