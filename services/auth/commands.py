"""`python -m services.auth.commands rotate-keys | create-admin EMAIL`: the operator's commands.

They change the database, which the running processes read: nothing has to be restarted, or even to run.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import trio
import trio_asyncio
from pydantic import ValidationError
from pymongo.errors import PyMongoError

from protocols.identity import ADMIN
from runtime.config.settings import DatabaseSettings, load
from services.auth.passwords import Passwords
from services.auth.promotion import promote
from services.auth.repository import MongoAccountRepository, NewUser
from services.auth.schemas import Signup
from services.auth.signing.key_ring import PUBLISHED_SECONDS, RETIRED_SECONDS
from services.auth.signing.stored_keys import begin_rotation
from services.failure_reason import failure_reason
from services.mongo.client import Database, open_database
from services.mongo.repository import UniqueViolation


class CommandError(Exception):
    """A command can't be carried out. The message is printed for the operator."""


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status. Errors are printed to standard error."""
    options = _parser().parse_args(arguments)
    settings = load(DatabaseSettings)
    uri = str(settings.mongodb_uri.get_secret_value())
    try:
        if options.command == "rotate-keys":
            print(trio.run(_with_database, uri, rotate_keys))
        else:
            account = read_account(options.email)
            print(trio.run(_with_database, uri, lambda database: create_admin(database, account)))
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uv run just", description="Administer accounts and keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rotate-keys", help="replace the key that signs access tokens")
    commands.add_parser("create-admin", help="make or promote an admin").add_argument(
        "email", metavar="EMAIL"
    )
    return parser


async def _with_database(uri: str, command: Callable[[Database], Awaitable[str]]) -> str:
    failure: CommandError
    async with trio_asyncio.open_loop(), open_database(uri, "auth") as database:
        # Raised outside: the loop's nursery would wrap it in a group.
        try:
            return await command(database)
        except CommandError as error:
            failure = error
        except PyMongoError as error:
            failure = CommandError(f"nothing was changed: MongoDB failed ({failure_reason(error)})")
    raise failure


async def rotate_keys(database: Database) -> str:
    """Begin a rotation of the signing key, unless one is going on; return what to tell the operator."""
    keys, is_new = await database.run(begin_rotation)
    begun = "A new key is published" if is_new else "A rotation is going on already, and nothing was changed"
    signs_at = time.time() + keys.signs_in
    signs = f"The new key signs {'from' if keys.signs_in > 0 else 'since'} {_clock(signs_at)} on"
    minutes = [round(seconds / 60) for seconds in (PUBLISHED_SECONDS, PUBLISHED_SECONDS + RETIRED_SECONDS)]
    return (
        f"{begun}. {signs}, and the old key is withdrawn at {_clock(signs_at + RETIRED_SECONDS)}.\n"
        f"{minutes[0]} minutes after the publication every process has fetched the new key, and {minutes[1]} "
        "minutes after it every token of the old one has expired. Nothing has to be restarted."
    )


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def read_account(email: str) -> Signup:
    """Read the password from the terminal, or the first line of standard input, and check it and the address.

    Raises CommandError.
    """
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {email}: ")
        if password and getpass.getpass("The same again: ") != password:
            raise CommandError("nothing was changed: the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        return Signup(email=email, password=password, first_name="Admin", last_name="Account", role="admin")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        lines = (f"{p['loc'][0]}: {p['msg'].removeprefix('Value error, ')}" for p in problems)
        raise CommandError(f"nothing was changed: {'; '.join(lines)}") from None


async def create_admin(database: Database, account: Signup) -> str:
    """Make an account with the role admin, or give it to the one with this address; return what was done.

    An account that exists gets the password too, and its logins end: anyone may have made it beforehand.
    """
    password_hash = await Passwords().hash(account.password)
    if await database.run(lambda db: promote(db, account.email, password_hash)):
        return (
            f"{account.email} is an admin now, with the new password. Its logins have ended: "
            "an access token from before keeps its role for 15 minutes at most."
        )
    new = NewUser(
        account.email, password_hash, account.first_name, account.last_name, ADMIN, ADMIN, time.time()
    )
    if isinstance(await MongoAccountRepository(database).add_user(new), UniqueViolation):
        raise CommandError("nothing was changed: the account was made by someone else just now; try again")
    return f"{account.email} is a new admin."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
