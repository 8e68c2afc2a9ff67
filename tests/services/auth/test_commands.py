"""The operator's commands on accounts and keys."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.config import ROOT, stack_config
from deploy.recipes import accounts
from protocols.identity import REFRESH_SECONDS
from services.auth import commands
from services.auth.commands import CommandError, create_admin, read_account, rotate_keys
from services.auth.passwords import Passwords
from services.auth.repository import MongoAccountRepository, NewUser
from services.auth.schemas import Signup
from services.auth.signing.stored_keys import read_keys
from services.auth.tokens import RefreshSecret, new_refresh_token
from services.mongo.client import Database
from tests.mongo import Mongod, free_port

PASSWORD = "a long password"


def admin(email: str = "root@example.com") -> Signup:
    return Signup(email=email, password=PASSWORD, first_name="A", last_name="B", role="admin")


async def role_and_password(database: Database, email: str) -> tuple[str, bool]:
    """The account's role, and whether it has PASSWORD."""
    account = await MongoAccountRepository(database).find_account(email)
    assert account is not None
    return account.user.role, await Passwords().verify(PASSWORD, account.password_hash)


def someone(email: str, role: str = "user", first_role: str = "user") -> NewUser:
    return NewUser(email, "hash", "Ada", "L", role, first_role, time.time())


async def test_a_new_admin_is_made_on_an_empty_database(database: Database) -> None:
    """It counts as the first account, so no later sign-up becomes an admin."""
    assert await create_admin(database, admin()) == "root@example.com is a new admin."
    assert await role_and_password(database, "ROOT@example.com") == ("admin", True)
    next_one = await MongoAccountRepository(database).add_user(someone("b@example.com", "user", "admin"))
    assert getattr(next_one, "role", None) == "user"


async def test_an_account_that_exists_is_promoted_and_its_logins_end(database: Database) -> None:
    """An attacker may have made the account to wait for the promotion."""
    repository = MongoAccountRepository(database)
    user: Any = await repository.add_user(someone("root@example.com"))
    other: Any = await repository.add_user(someone("ada@example.com"))
    tokens = {}
    for owner in (user, other):
        token = RefreshSecret.parse(new_refresh_token())
        assert token is not None
        await repository.add_family(token, owner.id, time.time() + REFRESH_SECONDS)
        tokens[owner.id] = token
    said = await create_admin(database, admin("ROOT@example.com"))
    assert "is an admin now, with the new password" in said
    assert await role_and_password(database, "root@example.com") == ("admin", True)
    assert await role_and_password(database, "ada@example.com") == ("user", False)

    async def rotates(token: RefreshSecret) -> bool:
        new = RefreshSecret.parse(new_refresh_token(token.family))
        assert new is not None
        now = time.time()
        return await repository.rotate(token, new, now, now + REFRESH_SECONDS) is not None

    assert not await rotates(tokens[user.id])
    assert await rotates(tokens[other.id])


async def test_a_rotation_is_begun_once_and_described(database: Database) -> None:
    first = await rotate_keys(database)
    assert first.startswith("A new key is published. The new key signs from ")
    keys = await database.run(read_keys)
    again = await rotate_keys(database)
    assert again.startswith(
        "A rotation is going on already, and nothing was changed. The new key signs from "
    )
    assert (await database.run(read_keys)).next == keys.next


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("nonsense", PASSWORD, "email"),
        ("a\u202eb@x.org", PASSWORD, "email"),
        ("root@example.com", "short", "password"),
        ("root@example.com", "", "password"),
        ("root@example.com", "x" * 2000, "password"),
    ],
    ids=ascii,
)
def test_a_bad_address_or_password_is_refused_and_the_password_not_shown(
    monkeypatch: pytest.MonkeyPatch, email: str, password: str, field: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(password + "\n"))
    with pytest.raises(CommandError, match=f"nothing was changed: {field}: ") as raised:
        read_account(email)
    assert not password or password not in str(raised.value)


def test_the_password_is_the_first_line_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\r\nmore\n"))
    assert read_account("root@example.com").password == PASSWORD


def stack(*arguments: str, uri: str, folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python -m deploy.stack`, as the recipes do."""
    environment = {**os.environ, "MONGODB_URI": uri, "STACK_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "deploy.stack", *arguments],
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_recipes_make_an_admin_and_begin_a_rotation(mongod: Mongod, tmp_path: Path) -> None:
    place = {"uri": mongod.uri, "folder": tmp_path}
    made = stack("create-admin", "recipe@example.com", **place, given=f"{PASSWORD}\n")  # type: ignore[arg-type]
    assert (made.returncode, made.stderr) == (0, "")
    assert "recipe@example.com is a" in made.stdout
    refused = stack("create-admin", "recipe@example.com", **place, given="short\n")  # type: ignore[arg-type]
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("nothing was changed: password: ")
    rotated = stack("rotate-keys", **place)  # type: ignore[arg-type]
    assert (rotated.returncode, rotated.stderr) == (0, "")
    assert "The new key signs" in rotated.stdout


def test_a_database_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("MONGODB_URI", f"mongodb://127.0.0.1:{free_port()}/")
    assert commands.main(["rotate-keys"]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("nothing was changed: MongoDB failed (")


def test_the_commands_use_the_database_of_the_running_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also from a shell in which MONGODB_URI isn't set."""
    stack_config({"STACK_DIR": str(tmp_path), "MONGODB_URI": "mongodb://db.example/"}).save()
    seen: dict[str, Any] = {}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(options, command=command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert accounts.run(stack_config({"STACK_DIR": str(tmp_path)}), "rotate-keys") is False
    assert seen["env"]["MONGODB_URI"] == "mongodb://db.example/"
    assert seen["command"][1:] == ["-m", "services.auth.commands", "rotate-keys"]


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(mongod: Mongod, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.auth.commands", "create-admin", "tty@example.com"],
        cwd=ROOT,
        env={**os.environ, "MONGODB_URI": mongod.uri},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        os.close(terminal)
        shown = b""
        for prompt in (b"Password for tty@example.com: ", b"The same again: "):
            while prompt not in shown:
                shown += os.read(controller, 1000)
            os.write(controller, PASSWORD.encode() + b"\n")
        while b"admin" not in shown.partition(b"again: ")[2]:
            shown += os.read(controller, 1000)
        assert process.wait(60) == 0
        assert b"tty@example.com is a new admin." in shown
        assert PASSWORD.encode() not in shown
    finally:
        process.kill()
        process.wait()
        os.close(controller)
