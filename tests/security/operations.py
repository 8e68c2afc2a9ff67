"""The calls that an OpenAPI document describes, as requests that can be sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

METHODS = ("get", "post", "put", "delete", "patch")


@dataclass(frozen=True)
class Operation:
    """One call. process, url: the server of it. path: as the document has it, with parameters."""

    process: str
    url: str
    method: str
    path: str
    described: Document
    document: Document

    def __str__(self) -> str:
        return f"{self.process} {self.method.upper()} {self.path}"

    @property
    def needs_token(self) -> bool:
        return bool(self.described.get("security"))

    @property
    def statuses(self) -> set[int]:
        """The documented statuses."""
        return {int(status) for status in self.described["responses"]}

    def takes(self, name: str) -> bool:
        """Whether it has a parameter of this name."""
        return any(one["name"] == name for one in self.described.get("parameters", ()))

    def target(self, **values: Any) -> str:
        """The path with these values of its parameters, or with those of real records."""
        known = {"number": 1, "school": 1, "name": "auth-database", "action": "reset", **values}
        return re.sub(r"\{(\w+)\}", lambda match: str(known[match[1]]), self.path)

    def fields(self) -> dict[str, Document]:
        """The schema of each field of the body; empty if there is no body."""
        body = self.described.get("requestBody")
        if body is None:
            return {}
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        fields: dict[str, Document] = schema["properties"]
        return fields


def operations(documents: dict[str, tuple[str, Document]]) -> Iterator[Operation]:
    """Every call of every document."""
    for process, (url, document) in documents.items():
        for path, item in document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield Operation(process, url, method, path, item[method], document)
