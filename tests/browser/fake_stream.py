"""A dashboard page with a fake event stream and a fake clock, both controlled by the test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.ephemeral_stack import EphemeralStack

NOON = 1_800_014_400.0
"""A Unix time, 12:00 UTC, and a multiple of 5 s."""
TOKEN = "a-token-that-is-good-enough-for-the-gateway"
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
window.send = (kind, data) => stream.dispatchEvent(new MessageEvent(kind, { data }));
"""


def breaker(name: str, **more: Any) -> dict[str, Any]:
    """A breaker as in a report: closed for an hour at noon; `more` replaces keys."""
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
    """A transition at a Unix time."""
    return {"breaker": name, "old": old, "new": new, "reason": reason, "time": time, "observed": False}


def order(action: str, breaker: str = "", **more: Any) -> dict[str, Any]:
    """An operator's order as in a report, given a minute before noon; `more` replaces keys."""
    basics = {"id": f"{action}-{breaker}", "reason": "to see", "time": NOON - 60, "until": None}
    return {**basics, "action": action, "breaker": breaker, "in_force": False, **more}


def opened(name: str, since: float, **more: Any) -> dict[str, Any]:
    """A breaker that has been open since a Unix time."""
    changes = [change(name, "CLOSED", "OPEN", since, "max failures reached")]
    return breaker(
        name, state="OPEN", since=since, outage_since=since, probe_at=since + 60, transitions=changes, **more
    )


@dataclass
class DashboardPage:
    """One dashboard page with a fake stream and clock. problems: the JavaScript errors so far."""

    page: Any
    stack: EphemeralStack
    now: float = NOON
    problems: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Open the page at noon. Its stream has sent nothing yet."""
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.add_init_script(_STREAM)
        self.page.clock.install(time=self.now - 1)
        self.page.clock.pause_at(self.now)
        self.page.goto(f"{self.stack.config.gateway}/dashboard")
        self.page.wait_for_function("window.stream !== undefined")

    def send(self, kind: str, **data: Any) -> None:
        """Send an event on the stream."""
        self.page.evaluate("([kind, data]) => send(kind, data)", [kind, json.dumps(data)])

    def hello(self) -> None:
        """Send the services and their breakers, and the time."""
        services = [
            {"process": process, "breaker": edge, "dependencies": names}
            for process, (edge, names) in SERVICES.items()
        ]
        self.send("hello", gateway="api-gateway", services=services)
        self.send("tick", now=self.now)

    def report(self, process: str, *breakers: dict[str, Any], **more: Any) -> None:
        """Send the report of a process. Without breakers, nothing has changed."""
        fields = {"answers": True, "since": 0, "starts": [NOON - 3600], "gaps": [], **more}
        self.send("report", process=process, breakers=breakers, **fields)

    def all_closed(self) -> None:
        """Send hello, and a report of every process with all breakers closed."""
        self.hello()
        for process, names in OWNERS.items():
            self.report(process, *map(breaker, names))

    def wait(self, seconds: float) -> None:
        """Advance the clock with a tick every second."""
        while seconds > 0:
            step = min(1.0, seconds)
            self.now += step
            seconds -= step
            self.page.clock.run_for(step * 1000)
            self.send("tick", now=self.now)

    def wide_letters(self) -> None:
        """Use DejaVu Sans, the widest of the common fonts."""
        self.page.evaluate("document.documentElement.style.setProperty('--sans', 'DejaVu Sans')")

    def row(self, name: str) -> Any:
        """The locator of a breaker's row."""
        return self.page.locator(f"article[data-name='{name}']")

    def sheet(self, name: str) -> Any:
        """Open a breaker's sheet, and return its locator."""
        self.row(name).locator(".name").click()
        return self.page.locator("#detail")

    def ribbon(self, name: str) -> list[tuple[str, int, int]]:
        """(state, begin, end) of each part of a breaker's ribbon, in seconds before its right edge."""
        read = "all => all.map(one => [one.classList[1], +one.getAttribute('x'), +one.getAttribute('width')])"
        rects = self.row(name).locator("rect").evaluate_all(read)
        span = self.span(name)
        return [(state, round(span - x), round(span - x - width)) for state, x, width in rects]

    def span(self, name: str) -> int:
        """The seconds that a breaker's plot shows."""
        return int(self.row(name).locator(".plot").get_attribute("viewBox").split()[2])

    def sign_in(self) -> None:
        """Sign in as an admin. `answer` decides whether the token is accepted."""
        self.page.fill("#token", TOKEN)
        self.page.click("#signing button[type=submit]")
        self.page.locator("#signing").wait_for(state="hidden")

    def answer(self, data: Any = None, status: int = 200, message: str = "", path: str = "**") -> None:
        """Set the response of the admin API from now on."""
        body = json.dumps({"data": data} if status == 200 else {"error": "X", "message": message})
        self.page.unroute_all()
        self.page.route(f"**/admin/breakers{path}", lambda route: route.fulfill(status=status, body=body))

    def focus(self) -> str:
        """The text of the focused element, or its id."""
        text: str = self.page.evaluate("document.activeElement.textContent || document.activeElement.id")
        return text
