"""Sign-up, login, refresh, validation and logout, without HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from protocols.http import Code
from protocols.identity import REFRESH_SECONDS, Identity
from protocols.records import User
from runtime.auth import TokenError, TokenVerifier, bearer
from runtime.web.errors import ApiError
from services.auth.passwords import Passwords
from services.auth.repository import NewUser, Store
from services.auth.schemas import ADMIN, Login, Signup, granted_role
from services.auth.tokens import RefreshSecret, Signer, SigningKey, new_refresh_token
from services.dependency import Dependency


class Accounts:
    """The auth service's work. Every database operation goes through `guard` and may raise its ApiErrors.

    The signing key is read when it is first needed, so that the service starts without a database; from
    then on it stays in memory, and tokens are checked without one. now: Unix seconds.
    """

    def __init__(
        self, store: Store, guard: Dependency, passwords: Passwords, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._guard = guard
        self._passwords = passwords
        self._now = now
        self._signer: Signer | None = None
        self._keys = TokenVerifier(clock=now)

    async def signup(self, body: Signup, authorization: str | None) -> User:
        """Make an account. Raises ApiError USER_EXISTS."""
        by_admin = body.role == ADMIN and await self._is_admin(authorization)
        new = NewUser(
            email=body.email,
            password_hash=await self._passwords.hash(body.password),
            first_name=body.first_name,
            last_name=body.last_name,
            role=granted_role(body.role, first=False, by_admin=by_admin),
            first_role=granted_role(body.role, first=True, by_admin=by_admin),
            now=self._now(),
        )
        user = await self._guard.run(self._store.add_user, new)
        if user is None:
            raise ApiError(Code.USER_EXISTS, "a user with this email already exists")
        return user

    async def login(self, body: Login) -> tuple[User, str, str]:
        """The user, an access token and a refresh token. Raises ApiError INVALID_CREDENTIALS."""
        signer = await self._ready()
        account = await self._guard.run(self._store.find_account, body.email)
        # An unknown address costs a hash too, or the time would tell it from a wrong password.
        stored = account.password_hash if account else None
        if not await self._passwords.verify(body.password, stored) or account is None:
            raise ApiError(Code.INVALID_CREDENTIALS, "invalid email or password")
        token = new_refresh_token()
        expires = self._now() + REFRESH_SECONDS
        await self._guard.run(self._store.add_family, _parsed(token), account.user["id"], expires)
        return account.user, signer.issue(account.user, self._now()), token

    async def refresh(self, token: str) -> tuple[str, str]:
        """A new access token and the refresh token that replaces `token`. Raises ApiError INVALID_TOKEN."""
        old = _parsed(token)
        signer = await self._ready()
        replacement = new_refresh_token(old.family)
        now = self._now()
        user = await self._guard.run(
            self._store.rotate, old, _parsed(replacement), now, now + REFRESH_SECONDS
        )
        if user is None:
            raise _bad_refresh_token()
        return signer.issue(user, now), replacement

    async def identify(self, authorization: str | None) -> Identity:
        """Whose bearer token this is. Raises TokenError."""
        token = bearer(authorization)
        await self._ready()
        return self._keys.verify(token)

    async def logout(self, identity: Identity, refresh_token: str) -> None:
        """End the login that `refresh_token` belongs to; one that has ended already is no error."""
        family = _parsed(refresh_token).family
        await self._guard.run(self._store.revoke_family, family, identity.user_id)

    async def jwks(self) -> dict[str, Any]:
        """The public keys, for a client."""
        return (await self._ready()).jwks()

    async def poll_jwks(self) -> dict[str, Any]:
        """The public keys, for the stack's own processes. Raises what the store raises.

        Past the breaker: they ask again and again from the moment they start, and before MongoDB is up their
        asking alone would open it.
        """
        signer = self._signer or self._take(await self._store.signing_key())
        return signer.jwks()

    async def _ready(self) -> Signer:
        return self._signer or self._take(await self._guard.run(self._store.signing_key))

    def _take(self, key: SigningKey) -> Signer:
        self._signer = Signer(key)
        self._keys.replace(self._signer.jwks())
        return self._signer

    async def _is_admin(self, authorization: str | None) -> bool:
        try:
            return (await self.identify(authorization)).role == ADMIN
        except TokenError:
            return False


def _parsed(token: str) -> RefreshSecret:
    secret = RefreshSecret.parse(token)
    if secret is None:
        raise _bad_refresh_token()
    return secret


def _bad_refresh_token() -> ApiError:
    return ApiError(Code.INVALID_TOKEN, "invalid or expired refresh token")
