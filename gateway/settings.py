"""The gateway's settings; each field's variable is its name in capitals."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from runtime.settings import Port, ProcessSettings


def _one(value: int) -> int:
    if value != 1:
        raise ValueError("should be 1: several workers aren't supported yet")
    return value


Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""A time-out; more than nothing, a day at most."""
Amount = Annotated[int, Field(ge=1)]
"""At least one."""


class GatewaySettings(ProcessSettings):
    """What the gateway adds to every process's settings. Times are seconds.

    upstream_timeout: until the head of the response; upstream_idle_timeout: between two pieces of a body.
    """

    gateway_port: Port = 8080
    gateway_workers: Annotated[int, AfterValidator(_one)] = 1
    rate_limit_per_minute: Amount = 100
    rate_limit_per_hour: Amount = 1000
    upstream_timeout: Seconds = 30.0
    upstream_idle_timeout: Seconds = 300.0
    max_body_bytes: Amount = 10 * 1024 * 1024

    def base_urls(self) -> dict[str, str]:
        """Where each service of the routing table is."""
        return {
            "auth": self.auth_service_url,
            "school": self.school_service_url,
            "student": self.student_service_url,
        }
