"""Verifies access tokens locally, with public keys that are fetched in the background and cached on disk.

`verify` uses the keys at hand and never waits for the auth service.
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
from protocols.identity import ACCESS_SECONDS, ALGORITHM, ISSUER, LEEWAY_SECONDS, Identity
from runtime.observability.reasons import reason_of
from runtime.serving.tls import client_context

REFRESH_SECONDS = 300.0
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
FIRST_RETRY_SECONDS = 0.5
"""The longest pause before the first key: until then no token can be verified."""
UNKNOWN_KEY_SECONDS = 5.0
"""The shortest time between two fetches because of unknown key ids."""
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


class UnknownKey(BadToken):
    """The token names a key that isn't in the key set."""


class KeysUnavailable(TokenError):
    """Tokens can't be verified: no key has been fetched yet."""

    code = Code.SERVICE_UNAVAILABLE
    message = "Tokens can't be checked before the auth service was first reached"
    retry_after = 1.0


class TokenVerifier:
    """Verifies tokens with the public keys of the auth service. Its length is the number of keys.

    fetch: returns the JWKS document; None: only `replace` sets keys, and `run` can't be used. cache: a file
    that keeps the document, so that a restart doesn't need the auth service; an unusable one is logged and
    ignored. clock: returns Unix seconds, for the expiry of tokens.
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
        """Replace all keys by those of a JWKS document. Raises ValueError if it has no usable key."""
        keys = _parse(document)
        if not keys:
            raise ValueError("the key set has no usable key")
        self._keys = keys
        self._first.set()

    async def wait_for_keys(self, seconds: float) -> None:
        """Wait for the first key, `seconds` at most."""
        with trio.move_on_after(seconds):
            await self._first.wait()

    def verify(self, token: str) -> Identity:
        """Return the token's identity. Raises BadToken, or KeysUnavailable before the first key."""
        if not self._keys:
            raise KeysUnavailable("no key to verify tokens with yet")
        key = self._keys.get(_key_id(token))
        if key is None:
            self._wanted.set()
            raise UnknownKey("signed with an unknown key")
        identity = _decode(token, key)
        now = self._clock()
        if identity.expires_at <= now:
            raise BadToken("expired")
        if identity.expires_at > now + ACCESS_SECONDS + LEEWAY_SECONDS:
            raise BadToken("valid for longer than any token of the auth service")
        return identity

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Refresh the keys until cancelled: every 5 minutes, after an unknown key id, soon after a failure.

        A failed fetch keeps the old keys; the first of consecutive failures is logged. Safe to cancel at any
        point.
        """
        task_status.started()
        failures = 0
        while True:
            fetched_at = trio.current_time()
            failures = 0 if await self._refresh(first_failure=failures == 0) else failures + 1
            with trio.move_on_after(self._pause(failures)):
                await self._wanted.wait()
                # Forged key ids must not cause a fetch each.
                await trio.sleep_until(fetched_at + UNKNOWN_KEY_SECONDS)
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
        except Exception as error:  # noqa: BLE001 - no failure of a fetch invalidates the old keys
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
    """Return the identity behind an Authorization field. Raises TokenError."""
    return keys.verify(bearer(authorization))


def bearer(authorization: str | None) -> str:
    """Return the token of an Authorization field. Raises MissingToken."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingToken("no bearer token")
    return token.strip()


def jwks_over_http(
    *urls: str, transport: httpx.AsyncBaseTransport | None = None, ca_file: Path | None = None
) -> Fetch:
    """Return a `fetch` for TokenVerifier that reads the keys of the auth service.

    urls: of its servers, at least one. A fetch tries one after the other, each for an equal share of
    FETCH_SECONDS, and raises the last error (httpx.HTTPError or ValueError) if all fail. transport: for all
    fetches, never closed; None: each fetch opens its own. ca_file: PEM certificates of authorities to trust;
    None: the system's.
    """
    # Reading the certificates blocks for 20 ms, so it is done once, and only for TLS.
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
    """Return the usable keys by id. Unknown kinds of keys are skipped: a newer auth service may add some."""
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
    except Exception as error:  # the JSON parser raises RecursionError for deeply nested input
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
            # `verify` checks the expiry on its own clock. iat isn't checked: the clocks of two hosts differ.
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
