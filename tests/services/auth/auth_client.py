"""The auth service's app with its repository in memory, and the calls of a client."""

from __future__ import annotations

from typing import Any

from argon2 import PasswordHasher
from pymongo.errors import AutoReconnect

from actors import CircuitBreakerConfig, Panel
from protocols.topology import AUTH_DATABASE
from services.auth.accounts import Accounts
from services.auth.app import REJECTION_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.mongo.dependency import database_dependency
from tests.services.api_client import ApiResponse, Caller
from tests.services.auth.fake_repository import FakeAccountRepository

ADA = {"email": "ada@example.com", "password": "lovelace", "first_name": "Ada", "last_name": "Lovelace"}
CREDENTIALS = {"email": ADA["email"], "password": ADA["password"]}


class Service:
    """The app, its repository and its time."""

    def __init__(self, panel: Panel) -> None:
        self.now = 1_000_000.0
        self.repository = FakeAccountRepository()
        self.dependency = database_dependency(
            panel, CircuitBreakerConfig(name=AUTH_DATABASE), REJECTION_MESSAGE
        )
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.accounts = Accounts(self.repository, self.dependency, self.passwords, lambda: self.now)
        self.call = Caller(create_app(self.accounts, panel), {})

    async def signup(self, token: str | None = None, **more: Any) -> ApiResponse:
        return await self.call("POST", "/signup", {**ADA, **more}, headers=bearer(token))

    async def login(self, **more: Any) -> ApiResponse:
        return await self.call("POST", "/login", {**CREDENTIALS, **more})

    async def refresh(self, token: str) -> ApiResponse:
        return await self.call("POST", "/refresh", {"refresh_token": token})

    async def validate(self, token: str | None) -> ApiResponse:
        return await self.call("POST", "/validate", headers=bearer(token))

    async def breaks(self) -> None:
        raise AutoReconnect("connection closed")


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}
