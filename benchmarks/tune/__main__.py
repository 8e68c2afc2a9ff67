"""`python -m benchmarks.tune LOG`: recommend constants for breakers.toml from a call log.

LOG is what the gateway wrote to CALL_LOG; LOG.1 is read too. Writes a breakers.toml to compare with the
present one. Exit status 0: done; 1: too little was recorded of every breaker; 2: a file can't be used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path

from runtime.config.policies import BadConfiguration, Configuration
from runtime.config.policy_file import configuration_of, read_text

from . import report
from .candidates import Candidate
from .enough import missing
from .log_reader import BadLog, Log, RecordedCall, read_log, service_breaker
from .policy_output import tuned
from .recording import Recording
from .selection import select

MOST_CALLS = 1_000_000
"""The calls that are replayed, of all breakers together: more than a rotated log has. It bounds the time."""


def main(arguments: list[str] | None = None) -> int:
    """Recommend, and write the file. Returns the exit status."""
    options = _options(arguments)
    try:
        if problem := _output_problem(options):
            raise BadLog(problem)
        text = read_text(options.breakers)
        configuration = configuration_of(text, options.breakers, options.profile)
        log = read_log(options.log, configuration.breakers)
        recommended, is_enough = _recommend(log, configuration, options.log)
        if recommended:
            _write(options, *tuned(text, recommended, options.output, options.profile))
    except (BadLog, BadConfiguration) as error:
        print(error, file=sys.stderr)
        return 2
    if not recommended:
        print(f"\n{options.output} is not written: no change is recommended.")
    return 0 if is_enough else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="just tune", description=__doc__)
    parser.add_argument("log", type=Path, metavar="LOG", help="the file that CALL_LOG named")
    parser.add_argument("--output", type=Path, default=Path("breakers.tuned.toml"), metavar="PATH")
    parser.add_argument("--overwrite", action="store_true", help="replace PATH if it exists")
    parser.add_argument(
        "--breakers",
        type=Path,
        default=Path(environment.get("CIRCUIT_BREAKERS", "breakers.toml")),
        metavar="PATH",
    )
    parser.add_argument("--profile", default=environment.get("CIRCUIT_BREAKER_PROFILE") or None)
    return parser.parse_args(arguments)


def _output_problem(options: argparse.Namespace) -> str | None:
    if options.output.exists() and options.breakers.exists() and options.output.samefile(options.breakers):
        return f"{options.output}: is the file in force; choose another --output to compare with it"
    if options.output.exists() and not options.overwrite:
        return f"{options.output}: exists; --overwrite replaces it, --output PATH writes another file"
    return None


def _recommend(log: Log, configuration: Configuration, path: Path) -> tuple[dict[str, Candidate], bool]:
    """Print what was found for each breaker. Returns the changes, and whether the log is enough for any."""
    for line in report.of_log(log, path):
        print(line)
    if not log.calls:
        raise BadLog(f"{path}: has no call that succeeded, failed or was rejected")
    recommended, is_enough = {}, False
    for name, (recordings, left_out) in _recordings(log).items():
        print(f"\n{name}")
        for line in report.of_recording(recordings, log.neutral[name], left_out):
            print(line)
        if name in configuration.probes:
            print("  its active probe is not replayed")
        config = configuration.breakers[name]
        if reasons := missing(recordings, config):
            lines = report.of_refusal(reasons)
        else:
            is_enough = True
            result = select(name, recordings, config)
            lines = report.of_result(result)
            if report.is_change(result):
                recommended[name] = result.chosen.candidate
        for line in lines:
            print(line, flush=True)
    return recommended, is_enough


def _recordings(log: Log) -> dict[str, tuple[list[Recording], int]]:
    """By the name in breakers.toml, the newest calls of it and its routes, and how many are older."""
    by_policy: defaultdict[str, dict[str, list[RecordedCall]]] = defaultdict(dict)
    for name, calls in sorted(log.calls.items()):
        by_policy[service_breaker(name)][name] = calls
    most = MOST_CALLS // len(by_policy)
    found = {}
    for policy, breakers in by_policy.items():
        starts = sorted(call.start for calls in breakers.values() for call in calls)
        since = starts[-most:][0]
        # The machine's clock begins at 0, and no call comes before it.
        newest = {name: [call for call in calls if call.start >= since] for name, calls in breakers.items()}
        recordings = [Recording(name, calls, since) for name, calls in newest.items() if calls]
        found[policy] = recordings, len(starts) - sum(len(one.calls) for one in recordings)
    return found


def _write(options: argparse.Namespace, text: str, configuration: Configuration) -> None:
    mode = "w" if options.overwrite else "x"
    try:
        with options.output.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadLog(f"{options.output}: can't be written: {error.strerror}") from error
    print(f"\nWritten: {options.output}. Compare: diff {options.breakers} {options.output}")
    for warning in configuration.warnings:
        print(f"  {warning}")


if __name__ == "__main__":
    raise SystemExit(main())
