"""Load by third-party clients, bounded: every request is answered."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import trio

from tests.runtime.serving.running_app import echo, respond, running


def tool(name: str) -> str:
    """The path of a program. The test is skipped if it isn't installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} isn't installed: it comes with Debian's nghttp2-client")
    return found


async def output(*words: str) -> str:
    with trio.fail_after(30):
        done = await trio.run_process(list(words), capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


@pytest.mark.parametrize(
    "options",
    [
        ["-n", "1000", "-c", "4", "-m", "20"],
        ["-n", "300", "-c", "4", "-m", "10", "-d", "{upload}"],
        ["-n", "300", "-c", "4", "--h1"],
    ],
    ids=["http2", "uploads", "http1"],
)
async def test_h2load_sees_no_error_and_no_time_out(pair: Any, options: list[str], tmp_path: Any) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(100_000))
    words = [word.format(upload=upload) for word in options]
    path = tool("h2load")
    async with running(echo, pair, within=40) as server:
        said = await output(path, *words, f"https://127.0.0.1:{server.port}/")
    total = words[1]
    assert re.search(rf"{total} succeeded, 0 failed, 0 errored, 0 timeout", said), said
    assert f"{total} 2xx, 0 3xx, 0 4xx, 0 5xx" in said


async def test_nghttp_gets_prioritised_requests_and_a_body(pair: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, bytes(200_000))

    path = tool("nghttp")
    async with running(app, pair, within=40) as server:
        url = f"https://127.0.0.1:{server.port}"
        said = await output(path, "-nv", *(f"{url}/{n}" for n in range(5)))
    assert said.count(":status: 200") == 5, said
    assert "RST_STREAM" not in said
