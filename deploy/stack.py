"""`python -m deploy.stack COMMAND`: what the just recipes call."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from deploy import commands
from deploy.config import StackConfig, StackError, layout
from deploy.terminal import logs
from protocols.topology import PROCESSES


def main(arguments: list[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run one command on the stack that the environment describes; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        done = _run(options, layout(environment))
        sys.stdout.flush()
        return 0 if done is not False else 1
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        _forget_output()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _forget_output()
        print(f"the output can't be written: {error.strerror}", file=sys.stderr)
        return 1


def _forget_output() -> None:
    """What is left of it has nowhere to go; without this Python complains once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(options: argparse.Namespace, found: StackConfig) -> bool | None:
    commands: dict[str, Callable[[], bool | None]] = {
        "up": lambda: commands.up(found),
        "down": lambda: commands.down(found),
        "status": lambda: commands.status(found),
        "start": lambda: commands.start(found, options.name),
        "stop": lambda: commands.stop(found, options.name),
        "restart": lambda: commands.restart(found, options.name),
        "health": lambda: _health().show(found.saved()),
        "watch": lambda: _watch().watch(found.saved()),
        "logs": lambda: _logs(options, found.saved()),
        "clean-db": lambda: commands.clean_db(found, yes=options.yes or bool(os.environ.get("CI"))),
        "demo": _demo,
    }
    return commands[options.command]()


# What takes long to import is imported by the commands that need it.
def _health() -> ModuleType:
    from deploy.terminal import health

    return health


def _watch() -> ModuleType:
    from deploy.terminal import watch

    return watch


def _demo() -> bool:
    from deploy.demo import scenarios

    return scenarios.main()


def _logs(options: argparse.Namespace, found: StackConfig) -> None:
    if options.name:
        commands.require_process(found, options.name)
    names = [options.name] if options.name else list(found.processes)
    logs.show(found, names, follow=options.follow, last=options.lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uv run just", description="Operate the stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status", "health", "watch", "demo"):
        commands.add_parser(name)
    for name in ("start", "stop", "restart"):
        commands.add_parser(name).add_argument("name", metavar="NAME", help=", ".join(PROCESSES))
    reader = commands.add_parser("logs")
    reader.add_argument("name", metavar="NAME", nargs="?")
    reader.add_argument("-f", "--follow", action="store_true", help="wait for more")
    reader.add_argument("-n", "--lines", type=_count, help="only the last N lines")
    commands.add_parser("clean-db").add_argument("-y", "--yes", action="store_true", help="don't ask")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"not a number of lines: {text[:40]!r}")
    # More than any log has, and than a deque can be told.
    return int(text) if len(text) < 19 else sys.maxsize


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
