"""Verifying access tokens locally, from a key set that is fetched in the background and kept on disk.

`verify` looks only at the keys there are, and never waits for the auth service.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import httpx
import jwt
import structlog
import trio

from protocols.http import Code
from protocols.identity import ALGORITHM, ISSUER, Identity
from runtime.config.settings import split_urls
from runtime.observability.reasons import reason_of
from runtime.serving.tls import client_context

REFRESH_SECONDS = 300.0
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
FIRST_RETRY_SECONDS = 0.5
"""The longest pause while there is no key at all: nothing can be verified then."""
UNKNOWN_KEY_SECONDS = 5.0
FETCH_SECONDS = 5.0
_MAX_TOKEN = 4096

log = structlog.get_logger("keys")

Fetch = Callable[[], Awaitable[Mapping[str, Any]]]


class TokenError(Exception):
    """A request can't be given an identity; str() is the reason for the log.

    code: of the response. message: for the client. challenge: the WWW-Authenticate field, if any.
    retry_after: seconds, if trying again makes sense.
    """

    code: ClassVar[Code]
    message: ClassVar[str]
    challenge: ClassVar[Mapping[str, str]] = {}
    retry_after: ClassVar[float | None] = None


class MissingToken(TokenError):
    """The request carries no bearer token."""

    code = Code.MISSING_TOKEN
    message = "A bearer token is needed"
    challenge = MappingProxyType({"WWW-Authenticate": "Bearer"})


class BadToken(TokenError):
    """The token is malformed, forged, expired or signed with an unknown key."""

    code = Code.INVALID_TOKEN
    message = "The token is invalid or expired"
    challenge = MappingProxyType({"WWW-Authenticate": 'Bearer error="invalid_token"'})


class KeysUnavailable(TokenError):
    """Tokens can't be verified: no key has been fetched yet."""

    code = Code.SERVICE_UNAVAILABLE
    message = "Tokens can't be checked before the auth service was first reached"
    retry_after = 1.0


class TokenVerifier:
    """The public keys of the auth service, by their id.

    fetch: gives the JWKS document; None for a set that is only filled by `replace`.
    cache: a file that keeps the document, so that a restart needs no auth service.
    clock: Unix seconds, for the expiry of tokens.
    """

    def __init__(
        self,
        fetch: Fetch | None = None,
        *,
        cache: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._cache = cache
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._wanted = trio.Event()
        self._first = trio.Event()
        if cache is not None:
            self._load(cache)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<TokenVerifier {sorted(self._keys)}>"

    def replace(self, document: Mapping[str, Any]) -> None:
        """Take the keys of a JWKS document in place of all others. Raises ValueError where it has none."""
        keys = _parse(document)
        if not keys:
            raise ValueError("the key set has no usable key")
        self._keys = keys
        self._first.set()

    async def first(self, seconds: float) -> None:
        """Return when there is a key, or after so many seconds."""
        with trio.move_on_after(seconds):
            await self._first.wait()

    def verify(self, token: str) -> Identity:
        """Whose token this is. Raises BadToken, or KeysUnavailable while no key was ever had."""
        if not self._keys:
            raise KeysUnavailable("no key to verify tokens with yet")
        key = self._keys.get(_key_id(token))
        if key is None:
            self._wanted.set()
            raise BadToken("signed with an unknown key")
        identity = _decode(token, key)
        if identity.expires_at <= self._clock():
            raise BadToken("expired")
        return identity

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the keys fresh, for ever: quick retries, then every 5 minutes or soon after an unknown key.

        A failed fetch is logged once and changes nothing. Cancelling is safe at any point.
        """
        task_status.started()
        failures = 0
        while True:
            asked = trio.current_time()
            failures = 0 if await self._refresh(first_failure=failures == 0) else failures + 1
            with trio.move_on_after(self._pause(failures)):
                await self._wanted.wait()
                # A stream of forged key ids must not become a stream of fetches.
                await trio.sleep_until(asked + UNKNOWN_KEY_SECONDS)
            self._wanted = trio.Event()

    def _pause(self, failures: int) -> float:
        if failures == 0:
            return REFRESH_SECONDS
        pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
        return pause if self._keys else min(pause, FIRST_RETRY_SECONDS)

    async def _refresh(self, *, first_failure: bool) -> bool:
        assert self._fetch is not None, "a key set that runs needs a fetch"
        try:
            with trio.fail_after(FETCH_SECONDS):
                document = await self._fetch()
            self.replace(document)
            if self._cache is not None:
                await trio.to_thread.run_sync(_write, self._cache, document)
        except Exception as error:  # noqa: BLE001 - whatever a fetch raises, the keys there are stay good
            if first_failure:
                log.warning(
                    "the key set could not be refreshed",
                    reason=f"{type(error).__name__}: {reason_of(error)}",
                    keys=len(self._keys),
                )
            return False
        return True

    def _load(self, cache: Path) -> None:
        try:
            self.replace(json.loads(cache.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the stored key set can't be used", path=str(cache), reason=repr(error))


def require(keys: TokenVerifier, authorization: str | None) -> Identity:
    """Whose request this is, from its Authorization field. Raises MissingToken, BadToken, KeysUnavailable."""
    return keys.verify(bearer(authorization))


def bearer(authorization: str | None) -> str:
    """The token of an Authorization field. Raises MissingToken where there is none."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingToken("no bearer token")
    return token.strip()


def jwks_over_http(
    base_urls: str, *, transport: httpx.AsyncBaseTransport | None = None, ca_file: Path | None = None
) -> Fetch:
    """A `fetch` for TokenVerifier from the auth service at `base_urls`: URLs separated by commas.

    It asks one after the other until one answers, and raises the last error if none does. Each has an equal
    share of FETCH_SECONDS. transport: never closed; by default each fetch opens its own, which verifies
    certificates by `ca_file` or the system's store.
    """
    urls = split_urls(base_urls)
    # Without TLS nothing is verified; and reading the certificates stops everything for 20 ms: once.
    secure = transport is None and any(url.startswith("https:") for url in urls)
    verify = client_context(ca_file) if secure else False

    async def fetch() -> Mapping[str, Any]:
        for url in urls[:-1]:
            with trio.move_on_after(FETCH_SECONDS / len(urls)):
                try:
                    return await fetch_from(url)
                except (httpx.HTTPError, ValueError):
                    continue
        return await fetch_from(urls[-1])

    async def fetch_from(url: str) -> Mapping[str, Any]:
        if transport is not None:
            return await _document(transport, url)
        async with httpx.AsyncHTTPTransport(verify=verify) as own:
            return await _document(own, url)

    return fetch


async def _document(transport: httpx.AsyncBaseTransport, base_url: str) -> Mapping[str, Any]:
    url = f"{base_url}/.well-known/jwks.json"
    request = httpx.Request("GET", url, headers={"accept": "application/json"})
    response = await transport.handle_async_request(request)
    response.request = request
    try:
        await response.aread()
    finally:
        await response.aclose()
    document: Mapping[str, Any] = response.raise_for_status().json()
    return document


def _parse(document: Mapping[str, Any]) -> dict[str, Any]:
    """The usable keys by id. A key of an unknown kind is skipped: a newer auth service may have such."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("not a key set")
    found: dict[str, Any] = {}
    for entry in listed:
        try:
            if entry["kty"] == "OKP" and entry["crv"] == "Ed25519" and isinstance(entry["kid"], str):
                found[entry["kid"]] = jwt.PyJWK.from_dict(entry, ALGORITHM).key
        except (KeyError, TypeError, ValueError, jwt.PyJWTError):
            continue
    return found


def _key_id(token: str) -> str:
    if len(token) > _MAX_TOKEN:
        raise BadToken("too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except Exception as error:  # hostile input reaches a JSON parser here; nested deep enough, it overflows
        raise BadToken("malformed") from error
    if not isinstance(kid, str):
        raise BadToken("no key id")
    return kid


def _decode(token: str, key: Any) -> Identity:
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            # The expiry is checked against the set's own clock; iat isn't, for clocks of two hosts differ.
            options={"require": ["exp", "sub", "iss"], "verify_exp": False, "verify_iat": False},
        )
        expires = float(claims["exp"])
        if not math.isfinite(expires):
            raise ValueError("exp")
        return Identity(str(claims["sub"]), str(claims["email"]), str(claims["role"]), expires)
    except Exception as error:
        raise BadToken("malformed or forged") from error


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(document), encoding="utf-8")
    os.replace(partial, path)
