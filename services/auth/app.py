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

REJECTION_MESSAGE = "authentication service temporarily unavailable"
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}]


def create_app(accounts: Accounts, panel: Panel) -> QuartTrio:
    """The app. panel: has the breaker `auth-database`; source of /health and /metrics."""
    # Existing health checks send GET /signup and expect 400.
    app = service_app(AUTH_SERVICE, panel, wrong_method=Code.INVALID_REQUEST)
    _add_accounts(app, accounts)
    _add_tokens(app, accounts)
    return app


def _add_accounts(app: QuartTrio, accounts: Accounts) -> None:
    @app.post("/signup")
    @document_request(Signup)
    @document_response(responses.UserResponse, 201)
    @document_response(responses.ErrorResponse, 400)
    @document_response(responses.ErrorResponse, 409)
    async def signup() -> Any:
        """Create an account."""
        user = await accounts.signup(await read_json(Signup), request.headers.get("Authorization"))
        return reply("User created successfully", user.model_dump(), 201)

    @app.post("/login")
    @document_request(Login)
    @document_response(responses.SessionResponse)
    @document_response(responses.ErrorResponse, 401)
    async def login() -> Any:
        """Log in with e-mail address and password."""
        user, access, refresh = await accounts.login(await read_json(Login))
        session = responses.Session(user=user, access_token=access, refresh_token=refresh)
        return reply("Login successful", session.model_dump())

    @app.post("/logout")
    @security_scheme(_BEARER)
    @document_request(Refresh)
    @document_response(responses.EmptyResponse)
    @document_response(responses.ErrorResponse, 401)
    async def logout() -> Any:
        """End the login that a refresh token belongs to."""
        identity = await accounts.identify(request.headers.get("Authorization"))
        await accounts.logout(identity, (await read_json(Refresh)).refresh_token)
        return reply("Logged out successfully", None)


def _add_tokens(app: QuartTrio, accounts: Accounts) -> None:
    @app.post("/refresh")
    @document_request(Refresh)
    @document_response(responses.TokensResponse)
    @document_response(responses.ErrorResponse, 401)
    async def refresh() -> Any:
        """Exchange a refresh token for new tokens; it works once."""
        access, replacement = await accounts.refresh((await read_json(Refresh)).refresh_token)
        return reply("Token refreshed successfully", {"access_token": access, "refresh_token": replacement})

    @app.post("/validate")
    @security_scheme(_BEARER)
    @document_response(responses.TokenOwnerResponse)
    @document_response(responses.ErrorResponse, 401)
    async def validate() -> Any:
        """Return the owner of an access token."""
        identity = await accounts.identify(request.headers.get("Authorization"))
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
