"""The operations of the auth service, without HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from protocols.http import Code
from protocols.identity import REFRESH_SECONDS, Identity
from runtime.auth import TokenError, TokenVerifier, bearer
from runtime.web.errors import ApiError
from services.auth.passwords import Passwords
from services.auth.records import User
from services.auth.repository import AccountRepository, NewUser
from services.auth.schemas import ADMIN, CONFLICTS, Login, Signup, granted_role
from services.auth.tokens import RefreshSecret, Signer, SigningKey, new_refresh_token
from services.dependency import Dependency
from services.http.results import without_conflict


class Accounts:
    """Sign-up, login, refresh, logout and the public keys.

    Every database operation but that of `poll_jwks` goes through `database`, and may raise its ApiErrors. The
    signing key is read when it is first needed, so that the service starts without a database, and then stays
    in memory, so that tokens are verified without one. now: returns Unix seconds.
    """

    def __init__(
        self,
        repository: AccountRepository,
        database: Dependency,
        passwords: Passwords,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._repository = repository
        self._database = database
        self._passwords = passwords
        self._now = now
        self._signer: Signer | None = None
        self._verifier = TokenVerifier(clock=now)

    async def signup(self, body: Signup, authorization: str | None) -> User:
        """Create an account. Raises ApiError USER_EXISTS.

        authorization: the request's Authorization field; an admin's token lets the new account be an admin.
        """
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
        return without_conflict(await self._database.run(self._repository.add_user, new), CONFLICTS)

    async def login(self, body: Login) -> tuple[User, str, str]:
        """Start a login: the user, an access token, a refresh token. Raises ApiError INVALID_CREDENTIALS."""
        signer = await self._get_signer()
        account = await self._database.run(self._repository.find_account, body.email)
        # Hash the password for an unknown address too, else the response time would reveal the address.
        stored = account.password_hash if account else None
        if not await self._passwords.verify(body.password, stored) or account is None:
            raise ApiError(Code.INVALID_CREDENTIALS, "invalid email or password")
        token = new_refresh_token()
        expires = self._now() + REFRESH_SECONDS
        await self._database.run(
            self._repository.add_family, _parse_refresh_token(token), account.user.id, expires
        )
        return account.user, signer.issue(account.user, self._now()), token

    async def refresh(self, token: str) -> tuple[str, str]:
        """A new access token, and the refresh token that replaces `token`.

        Raises ApiError INVALID_TOKEN. A token that was used before revokes its family.
        """
        old = _parse_refresh_token(token)
        signer = await self._get_signer()
        replacement = new_refresh_token(old.family)
        now = self._now()
        user = await self._database.run(
            self._repository.rotate, old, _parse_refresh_token(replacement), now, now + REFRESH_SECONDS
        )
        if user is None:
            raise _invalid_refresh_token()
        return signer.issue(user, now), replacement

    async def identify(self, authorization: str | None) -> Identity:
        """The identity in the bearer token of an Authorization field. Raises TokenError."""
        token = bearer(authorization)
        await self._get_signer()
        return self._verifier.verify(token)

    async def logout(self, identity: Identity, refresh_token: str) -> None:
        """End the login of `refresh_token`, if it is the identity's; no error if it has ended already.

        Raises ApiError INVALID_TOKEN for a malformed token.
        """
        family = _parse_refresh_token(refresh_token).family
        await self._database.run(self._repository.revoke_family, family, identity.user_id)

    async def jwks(self) -> dict[str, Any]:
        """The public keys as a JWKS document, for clients."""
        return (await self._get_signer()).jwks()

    async def poll_jwks(self) -> dict[str, Any]:
        """The public keys as a JWKS document, for the stack's processes. Raises what the repository raises.

        Bypasses the breaker: the processes poll from their start on, and before MongoDB is up their requests
        alone would open it.
        """
        signer = self._signer or self._make_signer(await self._repository.signing_key())
        return signer.jwks()

    async def _get_signer(self) -> Signer:
        return self._signer or self._make_signer(await self._database.run(self._repository.signing_key))

    def _make_signer(self, key: SigningKey) -> Signer:
        self._signer = Signer(key)
        self._verifier.replace(self._signer.jwks())
        return self._signer

    async def _is_admin(self, authorization: str | None) -> bool:
        try:
            return (await self.identify(authorization)).role == ADMIN
        except TokenError:
            return False


def _parse_refresh_token(token: str) -> RefreshSecret:
    secret = RefreshSecret.parse(token)
    if secret is None:
        raise _invalid_refresh_token()
    return secret


def _invalid_refresh_token() -> ApiError:
    return ApiError(Code.INVALID_TOKEN, "invalid or expired refresh token")
