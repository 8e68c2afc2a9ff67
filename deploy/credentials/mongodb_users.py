"""The users of the stack's own MongoDB: an administrator, and one for each service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.config import HOST, REPLICA_SET, StackConfig
from deploy.credentials import private_files
from protocols.topology import AUTH_SERVICE, SCHOOL_SERVICE, STUDENT_SERVICE

if TYPE_CHECKING:
    from pymongo import MongoClient

ADMINISTRATOR = "administrator"
"""The user of the stack's own commands, and of an operator's mongosh."""
DATABASES: Mapping[str, str] = {AUTH_SERVICE: "auth", SCHOOL_SERVICE: "school", STUDENT_SERVICE: "student"}
"""By service, its database, the only one on which its user has rights."""
_ROLES: Mapping[str, list[Any]] = {
    ADMINISTRATOR: ["root"],
    **{service: [{"role": "readWrite", "db": name}] for service, name in DATABASES.items()},
}


def key_file(config: StackConfig) -> Path:
    """The key with which members of the replica set, and the stack, authenticate themselves."""
    return config.secrets / "mongodb-key"


def prepare(config: StackConfig) -> None:
    """Make the key and the passwords that are missing. Before the first start of mongod with the key."""
    private_files.make_folder(config.secrets)
    for path in (key_file(config), *(_password_file(config, name) for name in _ROLES)):
        private_files.secret(path)


def uri(config: StackConfig, user: str | None, options: str = f"replicaSet={REPLICA_SET}") -> str:
    """The URI of the stack's own mongod for a user with a password; without credentials for any other."""
    address = f"{HOST}:{config.ports['MONGODB_PORT']}"
    password = private_files.kept_secret(_password_file(config, user)) if user else ""
    if not password:
        return f"mongodb://{address}/?{options}"
    return f"mongodb://{user}:{password}@{address}/?{options}&authSource=admin"


def as_member(config: StackConfig) -> dict[str, Any]:
    """pymongo's options for a client with all rights: it authenticates by the key, as a member would.

    It needs no user, so the stack can also use a database without users, or with forgotten passwords. Empty
    if there is no key: an earlier version has started mongod without authentication.
    """
    key = private_files.kept_secret(key_file(config))
    if not key:
        return {}
    return {
        "username": "__system",
        "password": key,
        "authSource": "local",
        "authMechanism": "SCRAM-SHA-256",
    }


def make(config: StackConfig, client: MongoClient[dict[str, Any]]) -> None:
    """Create the users that are missing, and update those with other passwords or rights.

    client: of `as_member`. Does nothing without passwords. A stack that was killed meanwhile goes on here.
    """
    known = {user["user"]: user for user in client.admin.command("usersInfo")["users"]}
    for name, roles in _ROLES.items():
        password = private_files.kept_secret(_password_file(config, name))
        if not password:
            continue
        # The database shows no password. Its digest lets nobody guess the 192 random bits.
        mark = {"password": hashlib.sha256(password.encode()).hexdigest(), "roles": str(roles)}
        if name in known and known[name].get("customData") == mark:
            continue
        verb = "updateUser" if name in known else "createUser"
        client.admin.command(
            verb, name, pwd=password, roles=roles, customData=mark, mechanisms=["SCRAM-SHA-256"]
        )


def _password_file(config: StackConfig, user: str) -> Path:
    return config.secrets / f"mongodb-{user}"
