"""deploy/docker/Dockerfile as instructions, and the result of its first stage, without Docker."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.deploy.fleet.tools import DOCKER, ROOT, tool

Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage: the word in capitals, and its arguments."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: list[list[Instruction]] = []
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        word, _, arguments = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, arguments.strip()))
    return found


def arguments(stage: list[Instruction], word: str) -> list[str]:
    """The arguments of each instruction of this word."""
    return [arguments for name, arguments in stage if name == word]


def copied() -> list[tuple[list[str], str]]:
    """The files that the first stage copies from the build context: sources, and the destination."""
    return [(words[:-1], words[-1]) for words in map(str.split, arguments(stages()[0], "COPY"))]


def build(app: Path) -> None:
    """Lay out the folder /app of the image at `app`, by the COPY and `uv sync` of the first stage."""
    for sources, destination in copied():
        for source in sources:
            _copy(ROOT / source, app / destination, into=destination.endswith("/"))
    (sync,) = [line for line in arguments(stages()[0], "RUN") if line.startswith("uv sync ")]
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(app / ".venv")}
    environment.pop("VIRTUAL_ENV", None)
    words = [tool("uv"), *shlex.split(sync)[1:], "--quiet"]
    subprocess.run(words, cwd=app, env=environment, check=True, timeout=300)


def _copy(source: Path, destination: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        return
    folder = destination if into else destination.parent
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder / source.name)
