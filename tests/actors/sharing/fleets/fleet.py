"""A fleet of instances in one trio.run on a mock clock: real panels, one store, a dependency that fails."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

from actors import Backoff, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Panel, State, open_panel
from actors.sharing.link import SharingPolicy
from actors.sharing.shared_breakers import SharedBreakers
from tests.actors.model.simulation import seeded_scheduler
from tests.actors.sharing.fleets.frozen_tasks import FrozenTasks
from tests.actors.sharing.fleets.memory_store import MemoryStore, StoreConnection

NAME = "dependency"
QUICK = CircuitBreakerConfig(name=NAME, reset_timeout=5.0, backoff=Backoff(factor=2.0, maximum=20.0))


class Down(Exception):
    """The dependency failed."""


class Instance:
    """One instance: its panel, its breaker, and its callers' results. `scope` ends it at once.

    frozen: it stands still, as after a SIGSTOP. thawed_at: when it last went on.
    """

    def __init__(self, number: int, panel: Panel, sharing: SharedBreakers, store: StoreConnection) -> None:
        self.number = number
        self.panel = panel
        self.sharing = sharing
        self.store = store
        self.breaker: CircuitBreaker = panel[NAME]
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.calls = self.failures = self.rejections = 0
        # The probes that run.
        self.running = 0
        self.frozen = False
        self.thawed_at = -1.0

    @property
    def state(self) -> State:
        return self.breaker.state

    @property
    def is_probing_for_all(self) -> bool:
        """Whether it runs a probe by a lease. False while frozen: it can't notice the lease's end."""
        if self.frozen or self.thawed_at == trio.current_time():
            return False
        return self.state is State.HALF_OPEN and self.sharing.has_lease(NAME) and self.running > 0


class Fleet:
    """Instances that call one dependency at random times, `rate` calls a second each.

    is_down: whether the dependency fails for an instance now. took: seconds of a call.
    """

    def __init__(self, nursery: trio.Nursery, seed: int, rate: float) -> None:
        self.nursery = nursery
        self.dice = random.Random(seed)
        self.rate = rate
        self.store = MemoryStore(nursery, random.Random(seed + 1))
        self.frozen_tasks = FrozenTasks(self.dice)
        trio.lowlevel.add_instrument(self.frozen_tasks)
        self._started = 0
        self.instances: list[Instance] = []
        self.is_down: Callable[[int], bool] = lambda number: False
        self.took: Callable[[], float] = lambda: 0.0

    async def add(
        self, config: CircuitBreakerConfig | None = None, policy: SharingPolicy | None = None
    ) -> Instance:
        """Start one more instance."""
        one: Instance = await self.nursery.start(
            self._run, config or CircuitBreakerConfig(name=NAME), policy or SharingPolicy()
        )
        return one

    async def _run(
        self, config: CircuitBreakerConfig, policy: SharingPolicy, *, task_status: trio.TaskStatus[Instance]
    ) -> None:
        # No other instance has had the number, so that each name is one instance's.
        number, self._started = self._started, self._started + 1
        connection = self.store.connection()
        async with open_panel() as panel:
            panel.breaker(config)
            sharing = SharedBreakers(panel, connection, policy, f"instance-{number}")
            one = Instance(number, panel, sharing, connection)
            one.task = trio.lowlevel.current_task()
            self.instances.append(one)
            with one.scope:
                async with trio.open_nursery() as nursery:
                    await nursery.start(sharing.run)
                    if self.rate:
                        nursery.start_soon(self._call_for_ever, one)
                    task_status.started(one)

    async def _call_for_ever(self, one: Instance) -> None:
        while True:
            await trio.sleep(self.dice.expovariate(self.rate))
            await self.call(one)

    async def call(self, one: Instance) -> None:
        one.calls += 1
        try:
            await one.breaker.execute(self._dependency, one)
        except CircuitOpenError:
            one.rejections += 1
        except Down:
            one.failures += 1

    async def _dependency(self, one: Instance) -> None:
        probes = one.state is State.HALF_OPEN
        one.running += probes
        try:
            await trio.sleep(self.took())
            if self.is_down(one.number):
                raise Down
        finally:
            one.running -= probes

    def freeze(self, one: Instance) -> None:
        """Stop all tasks of an instance. The clock goes on, also for its deadlines."""
        assert one.task is not None
        one.frozen = True
        self.frozen_tasks.freeze(one.task)

    def thaw(self, one: Instance) -> None:
        """Let an instance go on."""
        assert one.task is not None
        one.frozen, one.thawed_at = False, trio.current_time()
        self.frozen_tasks.thaw(one.task)

    async def until(self, condition: Callable[[], bool], within: float) -> float:
        """Wait until the condition holds; return the seconds. Raises trio.TooSlowError."""
        start = trio.current_time()
        with trio.fail_after(within):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.05)
        return trio.current_time() - start

    def all_open(self) -> bool:
        return all(one.state is State.OPEN for one in self.instances)


def run(scenario: Callable[[Fleet], Awaitable[None]], seed: int, rate: float) -> None:
    """Run a scenario with a fleet on a mock clock. rate: calls a second of each instance."""

    async def whole() -> None:
        async with trio.open_nursery() as nursery:
            await scenario(Fleet(nursery, seed, rate))
            nursery.cancel_scope.cancel()

    # Shown if the test fails: the seed, and with it the order of the tasks, repeats the failure.
    print(f"seed {seed}")  # noqa: T201
    with seeded_scheduler(seed):
        trio.run(whole, clock=MockClock(autojump_threshold=0))
