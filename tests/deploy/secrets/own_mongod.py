"""A mongod as the stack starts it: with the key, and users."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deploy.config import StackConfig, stack_config
from deploy.credentials import mongodb_users, private_files
from deploy.demo.ephemeral_stack import wait_for
from deploy.programs import libraries, mongodb
from tests.mongo import free_port

Client = MongoClient[dict[str, Any]]


def config_of(folder: Path) -> StackConfig:
    """The configuration of a stack in the folder `stack`, with another free port for MongoDB each time."""
    return stack_config({"STACK_DIR": str(folder / "stack"), "MONGODB_PORT": str(free_port())})


@contextmanager
def launched(config: StackConfig, *, with_key: bool = True) -> Iterator[None]:
    """Run the stack's mongod during the block; without the key as an earlier version did. Doesn't wait."""
    private_files.make_folder(config.data)
    words = mongodb.command(config)
    if with_key:
        mongodb_users.prepare(config)
    else:
        place = words.index("--keyFile")
        words[place : place + 2] = []
    more = libraries.environment(mongodb.find_mongod(), config.libraries)
    with (config.folder / "mongod.log").open("ab") as log:
        process = subprocess.Popen(words, env={**os.environ, **more}, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def is_ready(config: StackConfig, seconds: float = 40.0) -> bool:
    return wait_for(lambda: mongodb.is_ready(config), seconds)


@contextmanager
def client(uri: str) -> Iterator[Client]:
    with mongodb.connect(uri) as found:
        yield found
