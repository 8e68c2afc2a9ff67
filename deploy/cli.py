"""The command line of the stack: parse the arguments, run one command, return an exit status."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from deploy import commands
from deploy.config import StackConfig, StackError, stack_config
from deploy.recipes import accounts
from deploy.terminal import logs
from protocols.topology import LOAD_BALANCER, PROCESSES, gateway_names

_FURTHER = (*gateway_names(3)[1:], "…", LOAD_BALANCER)
"""With GATEWAY_INSTANCES alone."""


def main(
    arguments: list[str],
    environment: Mapping[str, str] = os.environ,
    demo: Callable[[], bool] | None = None,
) -> int:
    """Run one command on the stack that the environment configures, and return the exit status.

    demo: the command `demo`; without it there is none. Errors are printed to standard error, and the status
    is 1; 130 after an interrupt.
    """
    options = _parser(has_demo=demo is not None).parse_args(arguments)
    try:
        done = _run(options, stack_config(environment), demo)
        sys.stdout.flush()
        return 0 if done is not False else 1
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the pipe has ended, as with `| head`
        _discard_output()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard_output()
        print(f"the output can't be written: {error.strerror}", file=sys.stderr)
        return 1


def _discard_output() -> None:
    """Discard the buffered output. Otherwise Python prints a second error when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(options: argparse.Namespace, config: StackConfig, demo: Callable[[], bool] | None) -> bool | None:
    runs: dict[str, Callable[[], bool | None]] = {
        "up": lambda: commands.up(config),
        "down": lambda: commands.down(config),
        "status": lambda: commands.status(config),
        "start": lambda: commands.start(config, options.name),
        "stop": lambda: commands.stop(config, options.name),
        "restart": lambda: commands.restart(config, options.name),
        "reload": lambda: _reload().reload(config),
        "health": lambda: _health().show(config.saved()),
        "watch": lambda: _watch().watch(config.saved()),
        "logs": lambda: _logs(options, config.saved()),
        "rotate-keys": lambda: accounts.run(config, "rotate-keys"),
        "create-admin": lambda: accounts.run(config, "create-admin", options.email),
        "clean-db": lambda: commands.clean_db(config, yes=options.yes or bool(os.environ.get("CI"))),
    }
    if demo is not None:
        runs["demo"] = demo
    return runs[options.command]()


# These take long to import, so that only the commands that need them import them.
def _health() -> ModuleType:
    from deploy.terminal import health

    return health


def _reload() -> ModuleType:
    from deploy.recipes import reload

    return reload


def _watch() -> ModuleType:
    from deploy.terminal import watch

    return watch


def _logs(options: argparse.Namespace, config: StackConfig) -> None:
    if options.name:
        commands.require_process(config, options.name)
    names = [options.name] if options.name else list(config.processes)
    logs.show(config, names, follow=options.follow, last=options.lines)


def _parser(*, has_demo: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uv run just", description="Operate the stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    names = ("up", "down", "status", "reload", "health", "watch", "rotate-keys")
    for name in (*names, *(["demo"] if has_demo else [])):
        commands.add_parser(name)
    for name in ("start", "stop", "restart"):
        commands.add_parser(name).add_argument(
            "name", metavar="NAME", help=", ".join((*PROCESSES, *_FURTHER))
        )
    reader = commands.add_parser("logs")
    reader.add_argument("name", metavar="NAME", nargs="?")
    reader.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    reader.add_argument("-n", "--lines", type=_count, help="print only the last N lines")
    commands.add_parser("create-admin").add_argument("email", metavar="EMAIL")
    commands.add_parser("clean-db").add_argument("-y", "--yes", action="store_true", help="don't ask")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a number of lines: {text[:40]!r}")
    # sys.maxsize is the longest deque; a larger number is the same as no limit.
    return int(text) if len(text) < 19 else sys.maxsize
