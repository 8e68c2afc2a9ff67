"""The users of the stack's MongoDB, on real mongods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trio
import trio_asyncio
from pydantic import TypeAdapter
from pymongo.errors import OperationFailure

from deploy import procfs
from deploy.config import StackConfig, StackError
from deploy.credentials import mongodb_users
from deploy.demo.ephemeral_stack import wait_for
from deploy.programs import mongodb
from runtime.urls import MongoUri
from services.mongo.client import open_database
from tests.deploy.secrets.own_mongod import client, config_of, is_ready, launched

SERVICES = ("auth-service", "school-service", "student-service")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackConfig]:
    config = config_of(tmp_path_factory.mktemp("mongodb"))
    with launched(config):
        assert is_ready(config)
        yield config


def refused(code: int = 13) -> pytest.RaisesExc[OperationFailure]:
    return pytest.raises(OperationFailure, check=lambda error: error.code == code)


def test_nothing_is_read_or_written_without_a_password(stack: StackConfig) -> None:
    """Nor can a client on this host become the administrator."""
    with client(mongodb_users.uri(stack, None)) as anybody:
        assert anybody.admin.command("hello")["isWritablePrimary"]
        with refused():
            anybody.auth.users.find_one()
        with refused():
            anybody.auth.users.insert_one({})
        with refused():
            anybody.list_database_names()
        with refused():
            anybody.admin.command("createUser", "eve", pwd="eve", roles=["root"])


def test_a_service_has_rights_on_its_own_database_alone(stack: StackConfig) -> None:
    for service, own in mongodb_users.DATABASES.items():
        with client(mongodb_users.uri(stack, service)) as found:
            found[own].things.create_index("name", unique=True)
            found[own].things.insert_one({"name": "a"})
            found[own].things.drop()
            for other in {*mongodb_users.DATABASES.values(), "admin", "local", "config"} - {own}:
                with refused():
                    found[other].things.find_one()
            with refused():
                found.admin.command("usersInfo")


def test_another_users_password_is_refused(stack: StackConfig) -> None:
    uri = mongodb_users.uri(stack, "auth-service").replace("auth-service:", "school-service:")
    with client(uri) as found, refused(18):
        found.school.things.find_one()


def test_before_the_first_user_there_is_no_exception_for_this_host(tmp_path: Path) -> None:
    """A client that is faster than the stack gets no rights."""
    config = config_of(tmp_path)
    with launched(config):
        assert wait_for(lambda: procfs.accepts_connections(config.ports["MONGODB_PORT"]), 30)
        with client(mongodb_users.uri(config, None, "directConnection=true")) as anybody:
            with refused():
                anybody.admin.command("replSetInitiate", {"_id": "rs0", "members": []})
            with refused():
                anybody.admin.command("createUser", "eve", pwd="eve", roles=["root"])
        assert is_ready(config)
        with client(mongodb.own_uri(config)) as administrator:
            users = {user["user"] for user in administrator.admin.command("usersInfo")["users"]}
        assert users == {"administrator", *SERVICES}


def test_a_database_without_users_gets_them_and_keeps_its_data(tmp_path: Path) -> None:
    """An earlier version has left it so, possibly on another port."""
    config = config_of(tmp_path)
    with launched(config, with_key=False):
        assert is_ready(config)
        with client(mongodb.own_uri(config)) as anybody:
            anybody.auth.keys.insert_one({"kid": "old"})
    config = config_of(tmp_path)
    with launched(config):
        assert is_ready(config)
        with client(mongodb_users.uri(config, "auth-service")) as auth:
            assert auth.auth.keys.distinct("kid") == ["old"]
        with client(mongodb_users.uri(config, None)) as anybody, refused():
            anybody.auth.keys.find_one()


def test_a_start_that_was_killed_half_way_goes_on(stack: StackConfig) -> None:
    """Missing users are made; other passwords and rights are corrected."""
    with client(mongodb.own_uri(stack)) as administrator:
        administrator.admin.command("dropUser", "school-service")
        administrator.admin.command("grantRolesToUser", "auth-service", roles=["root"])
        administrator.admin.command("updateUser", "auth-service", customData={})
    (stack.secrets / "mongodb-student-service").unlink()
    (stack.secrets / "mongodb-administrator").write_text("")
    mongodb_users.prepare(stack)
    assert mongodb.is_ready(stack)
    for service, own in mongodb_users.DATABASES.items():
        with client(mongodb_users.uri(stack, service)) as found:
            assert found[own].things.find_one() is None
            with refused():
                found.admin.command("usersInfo")
    with client(mongodb.own_uri(stack)) as administrator:
        assert len(administrator.admin.command("usersInfo")["users"]) == 4


def test_a_second_start_changes_no_user(stack: StackConfig) -> None:
    def users() -> object:
        with client(mongodb.own_uri(stack)) as administrator:
            return administrator.admin.command({"usersInfo": 1, "showCredentials": True})["users"]

    assert mongodb.is_ready(stack)
    before = users()
    assert mongodb.is_ready(stack)
    assert users() == before


def test_no_secret_is_in_its_log_or_on_its_command_line(stack: StackConfig) -> None:
    log = (stack.folder / "mongod.log").read_text()
    assert "createUser" in log or "Successfully" in log or "Authentication succeeded" in log
    secrets = [path.read_text().strip() for path in stack.secrets.glob("mongodb-*")]
    assert len(secrets) == 5
    for secret in secrets:
        assert secret not in log
        assert secret not in " ".join(mongodb.command(stack))


PASSWORD = "p@s:s/w%rd+#?'é"


async def test_a_uri_with_odd_characters_and_authsource_works_everywhere(stack: StackConfig) -> None:
    """In a service, which reads it as a setting, and in the stack's commands."""
    with client(mongodb.own_uri(stack)) as administrator:
        administrator.auth.command("createUser", "o:d@d", pwd=PASSWORD, roles=["readWrite"])
    host = f"127.0.0.1:{stack.ports['MONGODB_PORT']}"
    user, password = quote("o:d@d", safe=""), quote(PASSWORD, safe="")
    uri = f"mongodb://{user}:{password}@{host}/?replicaSet=rs0&authSource=auth"
    setting = str(TypeAdapter(MongoUri).validate_python(uri).get_secret_value())
    with trio.fail_after(30):
        async with trio_asyncio.open_loop(), open_database(setting, "auth") as database:
            assert await database.run(lambda db: db.things.count_documents({})) == 0
    with client(uri) as found:
        assert found.auth.things.find_one() is None
    with pytest.raises(StackError, match="or refuses: not authorized") as caught:
        mongodb.drop(uri)  # it may drop `auth` alone
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://root:hunter2/x@h",
        "mongodb://root:12/hunter2 $x@h",
        "mongodb://root:1?hunter2=x@h",
        "mongodb://root:hunter2@h:port",
        "http://root:hunter2@h",
        "mongodb://root:hun@ter2@h",
    ],
)
def test_an_unusable_uri_is_reported_without_its_password(uri: str) -> None:
    with pytest.raises(
        StackError, match="^setting MONGODB_URI: should be a MongoDB connection string"
    ) as caught:
        mongodb.drop(uri)
    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_srv_name_that_is_unknown_is_reported_as_such() -> None:
    with pytest.raises(StackError, match="SRV name in MONGODB_URI can't be looked up") as caught:
        mongodb.drop("mongodb+srv://root:hunter2@cluster.example.invalid/?authSource=admin")
    assert "hunter2" not in str(caught.value)
