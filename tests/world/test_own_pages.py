"""Pages of a service beside its API aren't reachable through the gateway; future ones neither."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from actors import open_panel
from gateway.proxy.target import NoRouteError, UpstreamTarget, resolve
from gateway.routes import AUTH
from runtime.admin.api import add_breaker_admin
from runtime.auth import TokenVerifier
from runtime.config.policy_file import load_breakers
from runtime.config.settings import ProcessSettings
from services.auth.accounts import Accounts
from services.auth.app import REJECTION_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.mongo.dependency import database_dependency
from tests.services.auth.fake_repository import FakeAccountRepository
from tests.world.in_process_stack import POLICIES


async def test_only_the_api_of_the_auth_service_is_public() -> None:
    async with open_panel() as panel:
        guard = database_dependency(
            panel, load_breakers(POLICIES, "default")["auth-database"], REJECTION_MESSAGE
        )
        app = create_app(Accounts(FakeAccountRepository(), guard, Passwords()), panel)
        with capture_logs():
            add_breaker_admin(app, "auth-service", panel, TokenVerifier(), ProcessSettings())
        api = set((await (await app.test_client().get("/openapi.json")).get_json())["paths"])
    rules = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"}
    assert len(api) > 4
    assert len(rules - api) > 6
    for rule in sorted(rules):
        path = b"/auth" + rule.encode()
        if rule in api:
            place = resolve(path, b"")
            assert isinstance(place, UpstreamTarget)
            assert place.route.service is AUTH
        else:
            with pytest.raises(NoRouteError):
                resolve(path, b"")
