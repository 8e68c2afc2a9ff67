"""The auth service's HTTP app."""

from __future__ import annotations

from typing import Any

from pymongo.errors import PyMongoError
from quart import request
from quart_schema import document_request, document_response, security_scheme
from quart_trio import QuartTrio

from actors import Panel
from protocols.http import REQUEST_TIMEOUT_MS, Code
from protocols.topology import AUTH_SERVICE
from runtime.web.app import reply, service_app
from runtime.web.authorization import authorization
from runtime.web.errors import ApiError
from runtime.web.json_body import read_json
from runtime.web.openapi import BEARER, document_failures
from services.auth import responses
from services.auth.accounts import Accounts
from services.auth.schemas import Login, Refresh, Signup
from services.http.clients import TrustedGateways
from services.http.responses import EmptyResponse

REJECTION_MESSAGE = "authentication service temporarily unavailable"


def create_app(accounts: Accounts, panel: Panel, gateways: TrustedGateways | None = None) -> QuartTrio:
    """The app. panel: has the breaker `auth-database`; source of /health and /metrics.

    gateways: whose X-Forwarded-For names the client; None: those on this host.
    """
    # Existing health checks send GET /signup and expect 400.
    app = service_app(AUTH_SERVICE, panel, wrong_method=Code.INVALID_REQUEST)
    gateways = gateways or TrustedGateways()
    _add_accounts(app, accounts, gateways)
    _add_tokens(app, accounts, gateways)
    return app


def _add_accounts(app: QuartTrio, accounts: Accounts, gateways: TrustedGateways) -> None:
    @app.post("/signup")
    @document_request(Signup)
    @document_response(responses.UserResponse, 201)
    @document_failures(409, 429)
    async def signup() -> Any:
        """Create an account."""
        # Not an admin's sign-up unless it is clear whose it is.
        given = request.headers.getlist("Authorization")
        sole = given[0] if len(given) == 1 else None
        user = await accounts.signup(await read_json(Signup), sole, gateways.current_client())
        return reply("User created successfully", user.model_dump(), 201)

    @app.post("/login")
    @document_request(Login)
    @document_response(responses.SessionResponse)
    @document_failures(401, 429)
    async def login() -> Any:
        """Log in with e-mail address and password."""
        user, access, refresh = await accounts.login(await read_json(Login), gateways.current_client())
        session = responses.Session(user=user, access_token=access, refresh_token=refresh)
        return reply("Login successful", session.model_dump())

    @app.post("/logout")
    @security_scheme(BEARER)
    @document_request(Refresh)
    @document_response(EmptyResponse)
    @document_failures(401, 429)
    async def logout() -> Any:
        """End the login that a refresh token belongs to."""
        identity = await accounts.identify(authorization(), gateways.current_client())
        await accounts.logout(identity, (await read_json(Refresh)).refresh_token)
        return reply("Logged out successfully", None)


def _add_tokens(app: QuartTrio, accounts: Accounts, gateways: TrustedGateways) -> None:
    @app.post("/refresh")
    @document_request(Refresh)
    @document_response(responses.TokensResponse)
    @document_failures(401, 429)
    async def refresh() -> Any:
        """Exchange a refresh token for new tokens; it works once."""
        token = (await read_json(Refresh)).refresh_token
        access, replacement = await accounts.refresh(token, gateways.current_client())
        return reply("Token refreshed successfully", {"access_token": access, "refresh_token": replacement})

    @app.post("/validate")
    @security_scheme(BEARER)
    @document_response(responses.TokenOwnerResponse)
    @document_failures(401, 429)
    async def validate() -> Any:
        """Return the owner of an access token."""
        identity = await accounts.identify(authorization(), gateways.current_client())
        return reply("Token is valid", {"user_id": identity.user_id, "email": identity.email})

    @app.get("/.well-known/jwks.json")
    @document_response(responses.KeySetResponse)
    async def jwks() -> Any:
        """The public keys that verify access tokens."""
        if REQUEST_TIMEOUT_MS in request.headers:
            return await accounts.jwks()
        # A request without a deadline isn't from the gateway: a process of the stack polls the keys. No
        # breaker counts this failure, so the response names no origin.
        try:
            return await accounts.poll_jwks()
        except PyMongoError as error:
            raise ApiError(Code.DATABASE_ERROR, "database error", retry_after=1) from error
