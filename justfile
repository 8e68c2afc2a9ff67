# `uv run just` lists the recipes. NAME is a process that `just status` lists.

set positional-arguments

# `uv run just` has the environment already; any other just runs Python with uv.
python := if env("VIRTUAL_ENV", "") == "" { "uv run python" } else { "python" }
stack := python + " -m deploy.stack"

[private]
default:
    @just --list --unsorted

# Start all processes, wait until they are ready, and print their addresses
[no-exit-message]
up:
    @{{ stack }} up

# End all processes
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

# Show the processes; exit status 1 if one of them does not run
[no-exit-message]
status:
    @{{ stack }} status

# Show the logs: logs [NAME] [-f] [-n N]
[no-exit-message]
logs *ARGS:
    @{{ stack }} logs "$@"

# Show the health of all breakers; exit status 1 if one is open or unknown
[no-exit-message]
health:
    @{{ stack }} health

# Show the breakers live
[no-exit-message]
watch:
    @{{ stack }} watch

# Show three outages and recoveries, step by step, on a stack of its own
[no-exit-message]
demo:
    @{{ stack }} demo

# Run all tests except the long forms, two files at a time: about a quarter of an hour
test *ARGS:
    @{{ python }} -m pytest -n 2 --dist loadfile "$@"

# Measure the branch coverage of the breaker and its adapters; fail below 100 %
coverage:
    @{{ python }} -m pytest -q -n 2 --dist loadfile tests/actors tests/conformance tests/world/tracing \
        --cov=actors --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

# Apply deliberate faults, one at a time; fail if no test notices one: mutants [NAME...]
[no-exit-message]
mutants *ARGS:
    @{{ python }} -m tests.mutants "$@"

# Look at one with `uv run --group mutate mutmut show NAME`. A run that was interrupted goes on where it stopped.
# Change actors/machine and actors/policy in some 1900 places; list what no quick test notices: mutate [NAME...]
[no-exit-message]
mutate *ARGS:
    @uv run --quiet --group mutate mutmut run "$@"
    @uv run --quiet --group mutate mutmut results | grep -v ': not checked$' || true

# Run the tests that kill and stop real processes
test-resilience *ARGS:
    @{{ python }} -m pytest -m resilience tests "$@"

# Prove the shared breakers at length: 10,000 sequences, 100 simulated fleets, 50 rounds of faults on processes
test-shared *ARGS:
    @SHARING_SEQUENCES=10000 SHARING_FLEETS=100 SHARING_ROUNDS=50 {{ python }} -m pytest -m "resilience or not resilience" -n 2 --dist load tests/actors/sharing tests/actors/adapters/valkey "$@"

# Attack a real stack at length: forged tokens, hostile fields, floods, slow clients, generated requests
test-security *ARGS:
    @SECURITY_EXAMPLES=${SECURITY_EXAMPLES:-100} {{ python }} -m pytest -m "security or not security" tests/security "$@"

# Measure, and print which goals are reached: bench [core|gateway|observing|shared|adaptive] [--write] [--help]
[no-exit-message]
bench *ARGS:
    @uv run --quiet --group bench python -m benchmarks "$@"

# Recommend constants for breakers.toml from the file that the gateway wrote to CALL_LOG: tune LOG [--output PATH]
[no-exit-message]
tune *ARGS:
    @{{ python }} -m benchmarks.tune "$@"

# Delete all users, schools and students; --yes deletes without asking
[no-exit-message]
clean-db *ARGS:
    @{{ stack }} clean-db "$@"

# Replace the key that signs access tokens; no token is refused meanwhile, and nothing is restarted
[no-exit-message]
rotate-keys:
    @{{ stack }} rotate-keys

# Make or promote an admin; the password is read from the terminal or from standard input: create-admin EMAIL
[no-exit-message]
create-admin EMAIL:
    @{{ stack }} create-admin "$@"

# Read breakers.toml again in all running processes; a bad file changes nothing, and its error is printed
[no-exit-message]
reload:
    @{{ stack }} reload

# List the settings: value in the running stack, default, unit, meaning, and the processes that read each
[no-exit-message]
settings:
    @{{ python }} -m deploy.settings

# Look the locked dependencies up in a database of known vulnerabilities; without a network, say so
[no-exit-message]
audit:
    @{{ python }} -m deploy.recipes.audit

# Generate the gRPC code from protocols/school.proto
proto:
    @{{ python }} -m protocols.generate

# Check style, types (also of the Python in the docs), import contracts, generated code and deliberate faults
lint:
    {{ python }} -m ruff check
    {{ python }} -m mypy
    {{ python }} -m basedpyright
    {{ python }} -m tests.typing.pages
    lint-imports
    {{ python }} -m protocols.generate --check
    {{ python }} -m tests.mutants --check
