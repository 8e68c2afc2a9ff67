"""A dashboard that the test feeds itself: what a process tells, and when, is the test's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.ephemeral_stack import EphemeralStack

NOON = 1_800_014_400.0
"""A Unix time, 12:00 UTC, and a multiple of 5 s."""
TOKEN = "a-token-that-is-good"
SERVICES = {
    "auth-service": ("auth-service-http", ["auth-database"]),
    "school-service": ("school-service-http", ["school-database"]),
    "student-service": ("student-service-http", ["student-database", "student-service-grpc"]),
}
OWNERS = {
    "api-gateway": [edge for edge, _ in SERVICES.values()],
    **{process: names for process, (_, names) in SERVICES.items()},
}
POLICY = {"max_failures": 5, "reset_timeout": 60.0, "trip": None}
_STREAM = """
window.EventSource = class extends EventTarget {
  constructor() { super(); window.stream = this; }
  close() {}
};
window.say = (kind, data) => stream.dispatchEvent(new MessageEvent(kind, { data }));
"""


def breaker(name: str, **more: Any) -> dict[str, Any]:
    """One as a report has it: closed since noon minus an hour, unless told otherwise."""
    return {
        "name": name,
        "state": "CLOSED",
        "since": NOON - 3600,
        "outage_since": None,
        "reason": None,
        "probe_at": None,
        "failure_count": 0,
        "slow_count": 0,
        "last_failure": None,
        "in_flight": 0,
        "calls": dict.fromkeys(("success", "failure", "ignored", "cancelled", "rejected"), 0),
        "policy": POLICY,
        "transitions": [],
        "failures": [],
        "calls_by_time": [],
        **more,
    }


def change(name: str, old: str, new: str, time: float, reason: str = "because") -> dict[str, Any]:
    """A transition."""
    return {"breaker": name, "old": old, "new": new, "reason": reason, "time": time, "observed": False}


def opened(name: str, since: float, **more: Any) -> dict[str, Any]:
    """A breaker that is open."""
    changes = [change(name, "CLOSED", "OPEN", since, "max failures reached")]
    return breaker(
        name, state="OPEN", since=since, outage_since=since, probe_at=since + 60, transitions=changes, **more
    )


@dataclass
class DashboardPage:
    """One open page whose stream and clock are the test's."""

    page: Any
    stack: EphemeralStack
    now: float = NOON
    problems: list[str] = field(default_factory=list)

    def open(self) -> None:
        """At noon; nothing has been heard yet."""
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.add_init_script(_STREAM)
        self.page.clock.install(time=self.now - 1)
        self.page.clock.pause_at(self.now)
        self.page.goto(f"{self.stack.config.gateway}/dashboard")
        self.page.wait_for_function("window.stream !== undefined")

    def say(self, kind: str, **data: Any) -> None:
        """An event on the stream."""
        self.page.evaluate("([kind, data]) => say(kind, data)", [kind, json.dumps(data)])

    def hello(self) -> None:
        """Who is who, and what time it is."""
        services = [
            {"process": process, "breaker": edge, "dependencies": names}
            for process, (edge, names) in SERVICES.items()
        ]
        self.say("hello", gateway="api-gateway", services=services)
        self.say("tick", now=self.now)

    def report(self, process: str, *breakers: dict[str, Any], **more: Any) -> None:
        """What a process tells; without breakers, that nothing has changed."""
        told = {"answers": True, "since": 0, "starts": [NOON - 3600], "gaps": [], **more}
        self.say("report", process=process, breakers=breakers, **told)

    def all_closed(self) -> None:
        """Everybody says hello, and that all is well."""
        self.hello()
        for process, names in OWNERS.items():
            self.report(process, *map(breaker, names))

    def wait(self, seconds: float) -> None:
        """Let time pass on a live connection."""
        while seconds > 0:
            step = min(1.0, seconds)
            self.now += step
            seconds -= step
            self.page.clock.run_for(step * 1000)
            self.say("tick", now=self.now)

    def wide_letters(self) -> None:
        """The widest font there is on plain systems: what fits in it fits."""
        self.page.evaluate("document.documentElement.style.setProperty('--sans', 'DejaVu Sans')")

    def row(self, name: str) -> Any:
        """The row of a breaker."""
        return self.page.locator(f"article[data-name='{name}']")

    def sheet(self, name: str) -> Any:
        """Open the sheet of a breaker."""
        self.row(name).locator(".name").click()
        return self.page.locator("#detail")

    def ribbon(self, name: str) -> list[tuple[str, int, int]]:
        """What a ribbon shows: states with their beginning and end, seconds before its right edge."""
        read = "all => all.map(one => [one.classList[1], +one.getAttribute('x'), +one.getAttribute('width')])"
        rects = self.row(name).locator("rect").evaluate_all(read)
        return [(state, round(900 - x), round(900 - x - width)) for state, x, width in rects]

    def sign_in(self) -> None:
        """As an admin whose token every answer accepts."""
        self.page.fill("#token", TOKEN)
        self.page.click("#signing button[type=submit]")
        self.page.locator("#signing").wait_for(state="hidden")

    def answer(self, data: Any = None, status: int = 200, message: str = "", path: str = "**") -> None:
        """What the admin API answers from now on."""
        body = json.dumps({"data": data} if status == 200 else {"error": "X", "message": message})
        self.page.unroute_all()
        self.page.route(f"**/admin/breakers{path}", lambda route: route.fulfill(status=status, body=body))

    def focus(self) -> str:
        """The words of what has the focus."""
        said: str = self.page.evaluate("document.activeElement.textContent || document.activeElement.id")
        return said
