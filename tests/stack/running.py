"""The running stack that the tests of this folder share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.demo.ephemeral_stack import EphemeralStack, wait_for


@dataclass
class RunningStack:
    """A running stack, the Authorization header of its first account, and the id of a school."""

    stack: EphemeralStack
    bearer: dict[str, str]
    school: int

    def call(self, method: str, path: str, **json: Any) -> Any:
        """Send one request with the token, and return httpx's response."""
        return self.stack.client.request(method, path, headers=self.bearer, json=json or None)

    def all_closed(self, seconds: float = 20.0) -> bool:
        """Call every service until all breakers are closed. Returns False if they aren't within `seconds`."""

        def closed() -> bool:
            self.stack.login()
            self.call("GET", "/schools")
            self.call("GET", "/students")
            self.call("GET", f"/students/school/{self.school}")
            states = self.stack.states()
            return len(states) == 7 and set(states.values()) == {"CLOSED"}

        return wait_for(closed, seconds)


def registration_numbers(running: RunningStack) -> list[str]:
    """The registration numbers of all schools."""
    found: list[str] = []
    after = 0
    while page := running.call("GET", f"/schools?limit=1000&after={after}").json()["data"]:
        found += [school["registration_number"] for school in page]
        after = page[-1]["id"]
    return found
