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
from runtime.web.errors import ApiError
from runtime.web.json_body import read_json
from services.auth import responses
from services.auth.accounts import Accounts
from services.auth.schemas import Login, Refresh, Signup

OPEN_MESSAGE = "authentication service temporarily unavailable"
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}]


def create_app(accounts: Accounts, panel: Panel) -> QuartTrio:
    """The app. panel: owns `auth-database`, and is what health and metrics speak of."""
    # Health checks in the field ask GET /signup and expect 400.
    app = service_app(AUTH_SERVICE, panel, wrong_method=Code.INVALID_REQUEST)
    _add_accounts(app, accounts)
    _add_tokens(app, accounts)
    return app


def _add_accounts(app: QuartTrio, accounts: Accounts) -> None:
    @app.post("/signup")
    @document_request(Signup)
    @document_response(responses.UserAnswer, 201)
    @document_response(responses.Failure, 400)
    @document_response(responses.Failure, 409)
    async def signup() -> Any:
        """Create an account."""
        user = await accounts.signup(await read_json(Signup), request.headers.get("Authorization"))
        return reply("User created successfully", user, 201)

    @app.post("/login")
    @document_request(Login)
    @document_response(responses.SessionAnswer)
    @document_response(responses.Failure, 401)
    async def login() -> Any:
        """Log in with e-mail address and password."""
        user, access, refresh = await accounts.login(await read_json(Login))
        return reply("Login successful", {"user": user, "access_token": access, "refresh_token": refresh})

    @app.post("/logout")
    @security_scheme(_BEARER)
    @document_request(Refresh)
    @document_response(responses.PlainAnswer)
    @document_response(responses.Failure, 401)
    async def logout() -> Any:
        """End the login that a refresh token belongs to."""
        identity = await accounts.identify(request.headers.get("Authorization"))
        await accounts.logout(identity, (await read_json(Refresh)).refresh_token)
        return reply("Logged out successfully", None)


def _add_tokens(app: QuartTrio, accounts: Accounts) -> None:
    @app.post("/refresh")
    @document_request(Refresh)
    @document_response(responses.TokensAnswer)
    @document_response(responses.Failure, 401)
    async def refresh() -> Any:
        """Exchange a refresh token for new tokens; it works once."""
        access, replacement = await accounts.refresh((await read_json(Refresh)).refresh_token)
        return reply("Token refreshed successfully", {"access_token": access, "refresh_token": replacement})

    @app.post("/validate")
    @security_scheme(_BEARER)
    @document_response(responses.WhoAnswer)
    @document_response(responses.Failure, 401)
    async def validate() -> Any:
        """Say whose access token it is."""
        identity = await accounts.identify(request.headers.get("Authorization"))
        return reply("Token is valid", {"user_id": identity.user_id, "email": identity.email})

    @app.get("/.well-known/jwks.json")
    @document_response(responses.KeySetAnswer)
    async def jwks() -> Any:
        """The public keys that verify access tokens."""
        if REQUEST_TIMEOUT_MS in request.headers:
            return await accounts.jwks()
        # No deadline, so not by the gateway: one of the stack's processes polls. No breaker counts this, and
        # so the answer names none.
        try:
            return await accounts.poll_jwks()
        except PyMongoError as error:
            raise ApiError(Code.DATABASE_ERROR, "database error", retry_after=1) from error
