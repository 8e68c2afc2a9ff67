"""The servers that `benchmarks.gateway` compares: each is a process on a free port."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.programs.valkey import command, write_configuration

ROOT = Path(__file__).parents[2]
INSTALL = "install it with: apt-get update && apt-get install -y wrk nginx-light"
READY_SECONDS = 20.0

_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""
_ANSWER = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/json;
        location / {{ return 200 '{{"message": "ok", "data": null}}'; }}
    }}
"""
_PROXY = """
    upstream service {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        access_log {folder}/access.log;
        location /auth/ {{
            proxy_pass http://service/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
        }}
    }}
"""


@dataclass(frozen=True)
class Subject:
    """A running server. url: answers with status 200."""

    name: str
    url: str
    pid: int


def tool(name: str) -> str:
    """The path of a program. Raises SystemExit with the command that installs it if it isn't there."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise SystemExit(f"{name} isn't here; {INSTALL}")
    return found


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Start = Callable[[Path, int, int], subprocess.Popen[bytes]]


def upstream(folder: Path, port: int, _: int = 0) -> subprocess.Popen[bytes]:
    """nginx, returning one small response to every request."""
    return start_nginx(folder / "upstream", _ANSWER, port=port)


def nginx(folder: Path, port: int, upstream_port: int) -> subprocess.Popen[bytes]:
    """nginx as a reverse proxy, one process."""
    return start_nginx(folder / "proxy", _PROXY, port=port, upstream=upstream_port)


def fastapi(folder: Path, port: int, upstream_port: int, connections: int = 1000) -> subprocess.Popen[bytes]:
    """FastAPI under uvicorn, one process. connections: its client's limit; httpx's default is 100."""
    words = ("uvicorn", "benchmarks.gateway.fastapi_gateway:app", "--port", str(port))
    options = ("--loop", "uvloop", "--http", "httptools", "--backlog", "4096")
    more = {"UPSTREAM": f"http://127.0.0.1:{upstream_port}", "CONNECTIONS": str(connections)}
    return start_python(
        folder,
        f"fastapi-{connections}",
        [*words, *options],
        more,
    )


def ours(folder: Path, port: int, upstream_port: int, workers: int = 1) -> subprocess.Popen[bytes]:
    """The gateway of this project."""
    return _gateway(folder, f"gateway-{workers}", port, upstream_port, workers=workers)


@contextmanager
def valkey(folder: Path) -> Iterator[None]:
    """Run a Valkey during the block, and set VALKEY_URL to it: a gateway of several workers needs one."""
    port, password = free_port(), secrets.token_hex(16)
    configuration = write_configuration(folder / "valkey", port, password)
    process = subprocess.Popen(command(configuration), stdout=subprocess.DEVNULL)
    os.environ["VALKEY_URL"] = f"valkey://:{password}@127.0.0.1:{port}/0"
    try:
        yield
    finally:
        del os.environ["VALKEY_URL"]
        process.kill()
        process.wait()


def hypercorn(folder: Path, port: int, _: int) -> subprocess.Popen[bytes]:
    """Hypercorn with its defaults, answering without a proxy."""
    words = ["hypercorn", "--worker-class", "trio", "--backlog", "4096", "--bind", f"127.0.0.1:{port}"]
    return start_python(folder, "hypercorn", [*words, "benchmarks.gateway.thinnest_proxy:app"], {})


def server(folder: Path, port: int, _: int) -> subprocess.Popen[bytes]:
    """The gateway's server, answering without a proxy."""
    return start_python(folder, "server", ["benchmarks.gateway.thinnest_proxy"], {"PORT": str(port)})


def thinnest_proxy(folder: Path, port: int, upstream_port: int) -> subprocess.Popen[bytes]:
    """A proxy of nothing but the gateway's server and its connections to services."""
    more = {"PORT": str(port), "UPSTREAM": f"http://127.0.0.1:{upstream_port}"}
    return start_python(folder, "thinnest-proxy", ["benchmarks.gateway.thinnest_proxy"], more)


def before(folder: Path, port: int, upstream_port: int) -> subprocess.Popen[bytes]:
    """The gateway of the checkout in the environment variable BEFORE, run by that checkout's Python."""
    tree = Path(os.environ["BEFORE"])
    return _gateway(folder, "before", port, upstream_port, tree=tree, python=tree / ".venv/bin/python")


@contextmanager
def running(name: str, start: Start, folder: Path, upstream_port: int = 0) -> Iterator[Subject]:
    """Start a subject, wait until it answers, and end its process with the block.

    Raises SystemExit with the end of the logs if it doesn't answer within READY_SECONDS.
    """
    port = free_port()
    process = start(folder, port, upstream_port)
    try:
        url = f"http://127.0.0.1:{port}/auth/ping"
        _wait(name, url, process, folder)
        yield Subject(name, url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_nginx(folder: Path, http: str, **names: object) -> subprocess.Popen[bytes]:
    """Start nginx with this `http` block. names: values for the block's placeholders."""
    folder.mkdir()
    text = _NGINX.format(folder=folder, http=http.format(folder=folder, **names))
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    log = (folder / "error.log").open("ab")
    with log:
        return subprocess.Popen([tool("nginx"), "-c", str(configuration)], stdout=log, stderr=log)


def _gateway(
    folder: Path,
    name: str,
    port: int,
    upstream_port: int,
    *,
    workers: int = 1,
    tree: Path = ROOT,
    python: Path = Path(sys.executable),
) -> subprocess.Popen[bytes]:
    url = f"http://127.0.0.1:{upstream_port}"
    more = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_WORKERS": str(workers),
        "VALKEY_URL": os.environ["VALKEY_URL"] if workers > 1 else "",
        "RATE_LIMIT_PER_MINUTE": "1000000000",
        "AUTH_SERVICE_URL": url,
        "SCHOOL_SERVICE_URL": url,
        "STUDENT_SERVICE_URL": url,
        "CIRCUIT_BREAKERS": str(tree / "breakers.toml"),
    }
    return start_python(folder, name, ["gateway"], more, tree=tree, python=python)


def start_python(
    folder: Path,
    name: str,
    words: Sequence[str],
    more: Mapping[str, str],
    *,
    tree: Path = ROOT,
    python: Path = Path(sys.executable),
) -> subprocess.Popen[bytes]:
    """Start `python -m WORDS`. Its output, one log line per request, goes to a file in the folder."""
    with (folder / f"{name}.log").open("wb") as log:
        command = [str(python), "-m", *words]
        return subprocess.Popen(command, cwd=tree, env={**os.environ, **more}, stdout=log, stderr=log)


def _wait(name: str, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.rglob("*.log")))
    raise SystemExit(f"{name} doesn't answer at {url}\n{logs}")
