"""Types of the URLs in settings, for pydantic. Their errors don't contain the URL, which may be secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, AnyUrl, BeforeValidator, Secret, UrlConstraints, WrapValidator
from pydantic_core import MultiHostUrl
from pydantic_settings import NoDecode

_HTTP = ["http", "https"]
_WITH_HOST = re.compile(r"[^\s/:]+://[^\s/\\?#]")


def _with_host(value: Any) -> Any:
    # Pydantic repairs as browsers do: it takes the host of http:///path from the path, and drops line ends.
    if isinstance(value, str) and not (value.isprintable() and _WITH_HOST.match(value)):
        raise ValueError("should begin with SCHEME://HOST, and have printable characters alone")
    return value


def _usable_port(url: AnyUrl) -> AnyUrl:
    if url.port == 0:
        raise ValueError("should have a port above 0")
    return url


def _base(url: AnyUrl) -> AnyUrl:
    if url.username or url.password:
        raise ValueError("should have no user and no password")
    if url.path or url.query is not None or url.fragment is not None:
        raise ValueError("should have no path, query or fragment")
    return url


def _without_query(url: AnyUrl) -> AnyUrl:
    if url.query:
        raise ValueError("should have no query")
    return url


def _split(value: Any) -> Any:
    return [one.strip().rstrip("/") for one in value.split(",")] if isinstance(value, str) else value


def _mongodb(value: Any, parse: Callable[[Any], MultiHostUrl]) -> MultiHostUrl:
    url = parse(value)
    if url.scheme == "mongodb":
        # Few processes set the variable. An SRV name can't be parsed without DNS.
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri

        try:
            parse_uri(value)
        except OSError as error:
            raise ValueError(f"should name readable files: {error.strerror}") from None
        except (PyMongoError, ValueError):
            raise ValueError("should be a MongoDB connection string") from None
    return url


def _database_number(url: AnyUrl) -> AnyUrl:
    if not re.fullmatch(r"(/[0-9]*)?", url.path or "") or url.fragment is not None:
        raise ValueError("should have no path but the number of a database")
    return url


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


_HttpUrl = Annotated[
    AnyUrl,
    # Longer ones httpx refuses.
    UrlConstraints(allowed_schemes=_HTTP, max_length=65_536, preserve_empty_path=True),
    AfterValidator(_usable_port),
    BeforeValidator(_with_host),
]
BaseUrl = Annotated[_HttpUrl, AfterValidator(_base)]
"""http://HOST:PORT, without a slash at the end."""
BaseUrls = Annotated[tuple[BaseUrl, ...], NoDecode, BeforeValidator(_split)]
"""Several BaseUrls, written with commas between them; each may have a slash at its end."""
OtlpUrl = Annotated[_HttpUrl, AfterValidator(_without_query)]
"""Where spans are sent to. A query is refused: the exporter would log it."""
WebUrl = Secret[_HttpUrl]
"""A whole http or https URL. Secret: the path of a webhook's URL often contains its key."""
# MongoDsn would add a port, which an SRV name and the path of a socket can't have.
MongoUri = Secret[
    Annotated[
        MultiHostUrl, UrlConstraints(allowed_schemes=["mongodb", "mongodb+srv"]), WrapValidator(_mongodb)
    ]
]
"""A MongoDB connection string. Secret: it may contain a password."""
ValkeyUrl = Annotated[
    Secret[
        Annotated[
            AnyUrl,
            UrlConstraints(allowed_schemes=["redis", "rediss", "valkey", "valkeys"], default_port=6379),
            AfterValidator(_usable_port),
            AfterValidator(_database_number),
            BeforeValidator(_with_host),
        ]
    ]
    | None,
    BeforeValidator(_none_if_empty),
]
"""The store of breakers that share their state; None if it is empty. Secret: it may contain a password."""
