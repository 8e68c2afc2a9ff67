"""The stack that the tests of this folder share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.demo.ephemeral_stack import EphemeralStack, wait_for


@dataclass
class Running:
    """A running stack, a token of its first account, and one school."""

    stack: EphemeralStack
    bearer: dict[str, str]
    school: int

    def call(self, method: str, path: str, **json: Any) -> Any:
        """One request with the token; returns httpx's response."""
        return self.stack.client.request(method, path, headers=self.bearer, json=json or None)

    def all_closed(self, seconds: float = 20.0) -> bool:
        """Whether all breakers are closed within the time, after calls that make them so."""

        def closed() -> bool:
            self.stack.login()
            self.call("GET", "/schools")
            self.call("GET", "/students")
            self.call("GET", f"/students/school/{self.school}")
            states = self.stack.states()
            return len(states) == 7 and set(states.values()) == {"CLOSED"}

        return wait_for(closed, seconds)


def registration_numbers(running: Running) -> list[str]:
    """Of every school there is, page by page."""
    found: list[str] = []
    after = 0
    while page := running.call("GET", f"/schools?limit=1000&after={after}").json()["data"]:
        found += [school["registration_number"] for school in page]
        after = page[-1]["id"]
    return found
