"""The operations of the auth service, without HTTP."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trio
from pymongo.errors import PyMongoError

from protocols.http import Code
from protocols.identity import ADMIN, REFRESH_SECONDS, Identity
from runtime.auth import UNKNOWN_KEY_SECONDS, BadToken, TokenError, TokenVerifier, UnknownKey, bearer
from runtime.web.errors import ApiError
from services.auth.addresses.keys import address_key
from services.auth.limits.fair_queue import QueueFull
from services.auth.limits.guessing import GuessLimiter
from services.auth.passwords import Passwords
from services.auth.records import User
from services.auth.repository import AccountRepository, NewUser
from services.auth.schemas import CONFLICTS, Login, Signup, granted_role
from services.auth.signing.key_ring import MAX_AGE_SECONDS, KeyRing, StoredKeys
from services.auth.tokens import RefreshSecret, Signer, new_refresh_token
from services.dependency import Dependency
from services.http.results import without_conflict

RunOperation = Callable[[Callable[[], Awaitable[StoredKeys]]], Awaitable[StoredKeys]]
"""Runs an operation of the repository, through the breaker or directly."""


class Accounts:
    """Sign-up, login, refresh, logout and the public keys.

    Every database operation but that of `poll_jwks` goes through `database`, and may raise its ApiErrors. The
    signing keys are read when they are first needed, so that the service starts without a database, and
    stay in memory, so that tokens are verified without one; they are read again before they are used to
    sign, and once they are older than MAX_AGE_SECONDS. now: returns Unix seconds.

    client: the client of the request, by which failures are limited and password hashes take turns.
    """

    def __init__(
        self,
        repository: AccountRepository,
        database: Dependency,
        passwords: Passwords,
        now: Callable[[], float] = time.time,
        guesses: GuessLimiter | None = None,
    ) -> None:
        self._repository = repository
        self._database = database
        self._passwords = passwords
        self._now = now
        self._guesses = guesses or GuessLimiter()
        self._ring: KeyRing | None = None
        self._verifier = TokenVerifier(clock=now)

    async def signup(self, body: Signup, authorization: str | None, client: str = "") -> User:
        """Create an account. Raises ApiError USER_EXISTS and RATE_LIMITED.

        authorization: the request's Authorization field; an admin's token lets the new account be an admin.
        """
        by_admin = body.role == ADMIN and await self._is_admin(authorization)
        with _queue_as_rate_limit():
            password_hash = await self._passwords.hash(body.password, client)
        new = NewUser(
            email=body.email,
            password_hash=password_hash,
            first_name=body.first_name,
            last_name=body.last_name,
            role=granted_role(body.role, first=False, by_admin=by_admin),
            first_role=granted_role(body.role, first=True, by_admin=by_admin),
            now=self._now(),
        )
        return without_conflict(await self._database.run(self._repository.add_user, new), CONFLICTS)

    async def login(self, body: Login, client: str = "") -> tuple[User, str, str]:
        """Start a login: the user, an access token, a refresh token.

        Raises ApiError INVALID_CREDENTIALS, and RATE_LIMITED after too many failures of the client.
        """
        async with self._guesses.attempt(client, address_key(body.email)) as attempt:
            signer = await self._signer()
            account = await self._database.run(self._repository.find_account, body.email)
            # Hash the password for an unknown address too, else the response time would reveal the address.
            stored = account.password_hash if account else None
            with _queue_as_rate_limit():
                is_right = await self._passwords.verify(body.password, stored, client)
            if not is_right or account is None:
                attempt.fail()
                raise ApiError(Code.INVALID_CREDENTIALS, "invalid email or password")
        token = new_refresh_token()
        expires = self._now() + REFRESH_SECONDS
        await self._database.run(
            self._repository.add_family, _parse_refresh_token(token), account.user.id, expires
        )
        return account.user, signer.issue(account.user, self._now()), token

    async def refresh(self, token: str, client: str = "") -> tuple[str, str]:
        """A new access token, and the refresh token that replaces `token`.

        Raises ApiError INVALID_TOKEN, or RATE_LIMITED after too many failures of the client. A token that was
        used before revokes its family.
        """
        with self._failures_counted(client):
            return await self._refresh(token)

    async def _refresh(self, token: str) -> tuple[str, str]:
        old = _parse_refresh_token(token)
        signer = await self._signer()
        replacement = new_refresh_token(old.family)
        now = self._now()
        user = await self._database.run(
            self._repository.rotate, old, _parse_refresh_token(replacement), now, now + REFRESH_SECONDS
        )
        if user is None:
            raise _invalid_refresh_token()
        return signer.issue(user, now), replacement

    async def identify(self, authorization: str | None, client: str = "") -> Identity:
        """The identity in the bearer token of an Authorization field.

        Raises TokenError, and ApiError RATE_LIMITED after too many failures of the client.
        """
        with self._failures_counted(client):
            return await self._identify(authorization)

    async def _identify(self, authorization: str | None) -> Identity:
        token = bearer(authorization)
        if self._ring is None:
            await self._read_ring(self._database.run)
        try:
            return self._verifier.verify(token)
        except UnknownKey:
            if self._age() < UNKNOWN_KEY_SECONDS:
                raise
        # Another process may sign with a key that this one, idle for long, hasn't read yet.
        with suppress(ApiError):
            await self._read_ring(self._database.run)
        return self._verifier.verify(token)

    @contextmanager
    def _failures_counted(self, client: str) -> Iterator[None]:
        try:
            yield
        except BadToken:
            self._guesses.count_failure(client)
            raise
        except ApiError as error:
            if error.code is Code.INVALID_TOKEN:
                self._guesses.count_failure(client)
            raise

    async def logout(self, identity: Identity, refresh_token: str) -> None:
        """End the login of `refresh_token`, if it is the identity's; no error if it has ended already.

        Raises ApiError INVALID_TOKEN for a malformed token.
        """
        family = _parse_refresh_token(refresh_token).family
        await self._database.run(self._repository.revoke_family, family, identity.user_id)

    async def jwks(self) -> dict[str, Any]:
        """The public keys as a JWKS document, for clients."""
        if self._ring is None:
            return (await self._fresh_ring(self._database.run)).jwks()
        with suppress(ApiError):
            return (await self._fresh_ring(self._database.run)).jwks()
        return self._ring.jwks()

    async def poll_jwks(self) -> dict[str, Any]:
        """The public keys as a JWKS document, for the stack's processes.

        Raises what the repository raises if no key has ever been read. Bypasses the breaker: the processes
        poll from their start on, and before MongoDB is up their requests alone would open it.
        """
        if self._ring is None:
            return (await self._fresh_ring(_run_directly)).jwks()
        with suppress(PyMongoError):
            return (await self._fresh_ring(_run_directly)).jwks()
        return self._ring.jwks()

    async def _signer(self) -> Signer:
        return (await self._fresh_ring(self._database.run)).signer(trio.current_time())

    def _age(self) -> float:
        """Seconds since the keys were read."""
        return math.inf if self._ring is None else trio.current_time() - self._ring.read_at

    async def _fresh_ring(self, run: RunOperation) -> KeyRing:
        if self._ring is not None and self._age() < MAX_AGE_SECONDS:
            return self._ring
        return await self._read_ring(run)

    async def _read_ring(self, run: RunOperation) -> KeyRing:
        # The time before the reading: a key signs too late rather than too early.
        began = trio.current_time()
        ring = KeyRing(await run(self._repository.signing_keys), began)
        # A reading that began earlier may end later.
        if self._ring is None or self._ring.read_at <= began:
            self._ring = ring
            self._verifier.replace(ring.jwks())
        return self._ring

    async def _is_admin(self, authorization: str | None) -> bool:
        try:
            return (await self._identify(authorization)).role == ADMIN
        except TokenError:
            return False


async def _run_directly(operation: Callable[[], Awaitable[StoredKeys]]) -> StoredKeys:
    return await operation()


@contextmanager
def _queue_as_rate_limit() -> Iterator[None]:
    """Answer QueueFull with 429: no dependency and no service has failed, so no breaker counts it."""
    try:
        yield
    except QueueFull as error:
        raise ApiError(Code.RATE_LIMITED, "too many passwords are being checked", retry_after=1) from error


def _parse_refresh_token(token: str) -> RefreshSecret:
    secret = RefreshSecret.parse(token)
    if secret is None:
        raise _invalid_refresh_token()
    return secret


def _invalid_refresh_token() -> ApiError:
    return ApiError(Code.INVALID_TOKEN, "invalid or expired refresh token")
