# `uv run just` lists the recipes. NAME: mongodb, auth-service, school-service, student-service, api-gateway.

set positional-arguments

# Inside `uv run` the environment is there already; a just from elsewhere asks uv for it.
python := if env("VIRTUAL_ENV", "") == "" { "uv run python" } else { "python" }
stack := python + " -m deploy.stack"

[private]
default:
    @just --list --unsorted

# Start everything, wait until it is healthy, and say where things are
[no-exit-message]
up:
    @{{ stack }} up

# End everything
[no-exit-message]
down:
    @{{ stack }} down

# Stop one process: its ports refuse connections until it is started again
[no-exit-message]
stop NAME:
    @{{ stack }} stop "$@"

# Start one process and wait until it is ready
[no-exit-message]
start NAME:
    @{{ stack }} start "$@"

# Stop one process and start it again
[no-exit-message]
restart NAME:
    @{{ stack }} restart "$@"

# Which processes run
[no-exit-message]
status:
    @{{ stack }} status

# Show the logs: logs [NAME] [-f] [-n N]
[no-exit-message]
logs *ARGS:
    @{{ stack }} logs "$@"

# Ask the gateway for everybody's health
[no-exit-message]
health:
    @{{ stack }} health

# The breakers, live
[no-exit-message]
watch:
    @{{ stack }} watch

# Break, reject, recover: the walk-through, told step by step on a stack of its own
[no-exit-message]
demo:
    @{{ stack }} demo

# All tests but those that break the real stack for minutes; two files at a time
test *ARGS:
    @{{ python }} -m pytest -n 2 --dist loadfile "$@"

# Branch coverage of the breaker with its adapters: less than 100 % fails
coverage:
    @{{ python }} -m pytest -q tests/actors tests/conformance tests/world/test_traces.py \
        --cov=actors --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

# Break breaker, gateway and server on purpose, a fault at a time; one that no test notices fails: mutants [NAME...]
[no-exit-message]
mutants *ARGS:
    @{{ python }} -m tests.mutants "$@"

# Look at one with `uv run --group mutate mutmut show NAME`. A run that was interrupted goes on where it stopped.
# Change actors/machine and actors/policy in some 1900 places; list what no quick test notices: mutate [NAME...]
[no-exit-message]
mutate *ARGS:
    @uv run --quiet --group mutate mutmut run "$@"
    @uv run --quiet --group mutate mutmut results | grep -v ': not checked$' || true

# The tests that kill and stop real processes
test-resilience *ARGS:
    @{{ python }} -m pytest -m resilience tests "$@"

# Measure and say which goals are reached: bench [core|gateway|observing] [--write] [--help]
[no-exit-message]
bench *ARGS:
    @uv run --quiet --group bench python -m benchmarks "$@"

# Delete all users, schools and students (asks; --yes doesn't)
[no-exit-message]
clean-db *ARGS:
    @{{ stack }} clean-db "$@"

# List the settings: environment variables, their defaults and what they are now
settings:
    @{{ python }} -m deploy.settings

# Generate the gRPC code anew from protocols/school.proto
proto:
    @{{ python }} -m protocols.generate

# Style, types (the documents' Python too), import contracts, generated code, deliberate faults that no longer apply
lint:
    {{ python }} -m ruff check
    {{ python }} -m mypy
    {{ python }} -m basedpyright
    {{ python }} -m tests.typing.pages
    lint-imports
    {{ python }} -m protocols.generate --check
    {{ python }} -m tests.mutants --check
