"""The admin API over HTTP, the same in every process: authentication, request bodies and routes."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from quart import g, request
from quart_schema import hide
from quart_trio import QuartTrio

from actors import Panel
from protocols.http import Code
from runtime.admin.history import Recorder
from runtime.admin.service import AdminCommand, BreakerAdmin, LocalBreakerAdmin, local_breaker_admin
from runtime.asgi import Scope, peer_address
from runtime.auth import TokenError, TokenVerifier, bearer
from runtime.config.settings import ProcessSettings
from runtime.serving import client_network
from runtime.sharing.process import ProcessSharing
from runtime.web.app import reply
from runtime.web.authorization import authorization
from runtime.web.errors import ApiError
from runtime.web.failure_limit import FailureLimit
from runtime.web.json_body import read_json

BAD_TOKENS_PER_MINUTE = 30
"""Of one client. They are counted apart from failed log-ins, by each process for itself."""
LONGEST_REASON = 200
"""Characters."""
LONGEST_SECONDS = 31_536_000.0
"""The longest time for which a command may be in force: a year."""


def _one_line(value: str) -> str:
    if len(value) > LONGEST_REASON or not value.isprintable():
        raise ValueError(f"should be one line of at most {LONGEST_REASON} characters")
    return value.strip()


def _duration(value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison comes first: an integer may be too large for a float.
    if not is_number or not 0 < value <= LONGEST_SECONDS:
        raise ValueError(f"should be seconds, more than 0 and at most {LONGEST_SECONDS:.0f}")
    return float(value)


class CommandBody(BaseModel):
    """The body of a command. reason: for the log and the breaker's history. lasts: `for`, seconds."""

    reason: Annotated[str, AfterValidator(_one_line)] = ""
    lasts: Annotated[float | None, BeforeValidator(_duration), Field(alias="for")] = None


class PolicyChangeBody(CommandBody):
    """The body of a policy change: its other keys are those of a breaker's table in breakers.toml."""

    model_config = ConfigDict(extra="allow")


class AdminAuthenticator:
    """Admits bearers of an admin's access token, and of ADMIN_TOKEN if that is set.

    Bad tokens are limited to BAD_TOKENS_PER_MINUTE for each client. Beyond that ADMIN_TOKEN isn't accepted
    from this client either, so that a guess that is right looks like a wrong one. Access tokens always are:
    they can't be guessed.
    """

    def __init__(self, keys: TokenVerifier, admin_token: SecretStr | None) -> None:
        self._keys = keys
        self._admin_token = None if admin_token is None else admin_token.get_secret_value().encode()
        self._bad_tokens = FailureLimit(BAD_TOKENS_PER_MINUTE)

    def admit(self, authorization: str | None, client: str) -> str:
        """Return a user id or "ADMIN_TOKEN", for the log.

        authorization: the request's field. client: the address of its sender. Raises TokenError, or ApiError:
        FORBIDDEN for a user who is no admin, RATE_LIMITED after too many bad tokens.
        """
        token = bearer(authorization)
        network = client_network(client)
        if self._is_admin_token(token):
            self._bad_tokens.check(network)
            return "ADMIN_TOKEN"
        try:
            identity = self._keys.verify(token)
        except TokenError:
            self._bad_tokens.count(network)
            raise
        if identity.role != "admin":
            raise ApiError(Code.FORBIDDEN, "only an admin may do this")
        return identity.user_id

    def _is_admin_token(self, token: str) -> bool:
        return self._admin_token is not None and hmac.compare_digest(token.encode(), self._admin_token)


def add_admin(
    app: QuartTrio,
    admin: BreakerAdmin,
    authenticator: AdminAuthenticator,
    client_of: Callable[[Scope], str] = peer_address,
) -> None:
    """Add /admin/breakers and the paths below it, for admins alone.

    client_of: returns the address of a request's sender.
    """

    def authenticate() -> str:
        client = client_of(cast(Scope, request.scope))
        return authenticator.admit(authorization(), client)

    def command(who: str, body: CommandBody | None = None) -> AdminCommand:
        body = body or CommandBody()
        return AdminCommand(who, body.reason, authorization() or "", g.request_id, body.lasts)

    @app.get("/admin/breakers")
    @hide
    async def show() -> Any:
        return reply("Breakers retrieved successfully", await admin.show(command(authenticate())))

    @app.get("/admin/breakers/<name>")
    @hide
    async def show_one(name: str) -> Any:
        return reply("Breaker retrieved successfully", await admin.show_one(name, command(authenticate())))

    @app.post("/admin/breakers/<name>/<action>")
    @hide
    async def steer(name: str, action: str) -> Any:
        who = authenticate()  # before an error can describe the body
        report = await admin.steer(name, action, command(who, await _command_body()))
        return reply(f"{name} is {report['state']}", report)

    @app.put("/admin/breakers/<name>/policy")
    @hide
    async def change(name: str) -> Any:
        who = authenticate()
        body = await read_json(PolicyChangeBody)
        report = await admin.change(name, body.model_extra or {}, command(who, body))
        return reply(f"The policy of {name} is changed", report)

    @app.post("/admin/breakers/reload")
    @hide
    async def reload() -> Any:
        who = authenticate()
        results = await admin.reload(command(who, await _command_body()))
        failed = [name for name, result in results.items() if isinstance(result, dict) and "error" in result]
        exceptions = f", but not by {', '.join(failed)}" if failed else ""
        return reply(f"The policies are read again{exceptions}", results)


async def _command_body() -> CommandBody:
    """Read the command's body, which may be missing."""
    return await read_json(CommandBody, missing=b"{}")


def add_breaker_admin(
    app: QuartTrio,
    process: str,
    panel: Panel,
    keys: TokenVerifier,
    settings: ProcessSettings,
    sharing: ProcessSharing | None = None,
) -> tuple[Recorder, LocalBreakerAdmin]:
    """Add the admin API and /breakers for a service's breakers.

    sharing: None: commands are for this process alone. The caller starts `run` of the recorder and of the
    admin's commands.
    """
    recorder = Recorder(process, panel)
    add_recent(app, recorder)
    admin = local_breaker_admin(panel, recorder, settings, sharing)
    add_admin(app, admin, AdminAuthenticator(keys, settings.admin_token))
    return recorder, admin


def add_recent(app: QuartTrio, recorder: Recorder) -> None:
    """Add GET /breakers?since=SECONDS for the gateway. It is open to all, as /health and /metrics are."""

    @app.get("/breakers")
    @hide
    async def recent() -> Any:
        since = _since(request.args.get("since"))
        return reply("Breakers retrieved successfully", await recorder.recent(since))


def _since(text: str | None) -> float:
    try:
        since = float(text or 0)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        raise ApiError(Code.VALIDATION_ERROR, "since: should be Unix seconds")
    return since
