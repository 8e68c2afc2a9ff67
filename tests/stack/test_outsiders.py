"""Another user of the host gets nothing of a running stack. Needs root, to become that user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.running import RunningStack

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
STRANGER = 65534

READ = """
found = []
def look(path):
    try:
        entries = os.listdir(path) if os.path.isdir(path) else None
        if entries is None:
            open(path, "rb").close()
    except OSError:
        return
    found.append(path)
for path in sys.argv[1:]:
    look(path)
print(os.getuid(), *found)
"""
# Written without pymongo, which the other user may be unable to import: one OP_MSG with a BSON document.
FIND = """
def text(name, value): return b"\\x02" + name + b"\\0" + struct.pack("<i", len(value) + 1) + value + b"\\0"
def send(s, body):
    document = struct.pack("<i", len(body) + 5) + body + b"\\0"
    message = struct.pack("<iiii", 21 + len(document), 1, 0, 2013) + struct.pack("<i", 0) + b"\\0" + document
    s.sendall(message)
    size = struct.unpack("<i", (head := s.recv(4)))[0]
    while len(head) < size: head += s.recv(65536)
    return head
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
print(send(s, text(b"find", sys.argv[2].encode()) + text(b"$db", b"auth")))
"""


# The program becomes the other user after it has started: that user may not even reach the interpreter.
BECOME_STRANGER = f"""
import encodings.idna, os, socket, struct, sys
os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})
"""


def as_stranger(code: str, *arguments: str) -> str:
    """The output of Python code that runs as a user without any rights."""
    done = subprocess.run(
        [sys.executable, "-c", BECOME_STRANGER + code, *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def open_parent(running_once: RunningStack) -> RunningStack:
    """The stack, in a folder that any user may enter: only the stack's own folder protects it."""
    running_once.stack.folder.chmod(0o755)
    return running_once


def test_another_user_reads_no_file_of_the_stack(open_parent: RunningStack) -> None:
    folder = open_parent.stack.config.folder
    paths = [str(folder), *map(str, folder.rglob("*"))]
    assert len(paths) > 40
    assert str(open_parent.stack.config.secrets / "mongodb-key") in paths
    readable = str(open_parent.stack.folder / "breakers.toml")
    assert as_stranger(READ, readable, *paths).split() == [str(STRANGER), readable]


def test_no_file_would_be_open_without_the_folder_around_it(open_parent: RunningStack) -> None:
    """Logs and data included, also those written since the start."""
    found = [path for path in open_parent.stack.config.folder.rglob("*") if not path.is_symlink()]
    assert [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_another_user_gets_no_data_from_mongodb(open_parent: RunningStack) -> None:
    port = str(open_parent.stack.config.ports["MONGODB_PORT"])
    for collection in ("keys", "users", "accounts"):
        answer = as_stranger(FIND, port, collection)
        assert "requires authentication" in answer
        assert "firstBatch" not in answer


def test_a_process_has_only_its_own_credentials(open_parent: RunningStack) -> None:
    """In the environment of the running process; MongoDB, Valkey and supervisor have none."""
    config = open_parent.stack.config
    names = {"MONGODB_URI", "VALKEY_URL", "SCHOOL_GRPC_SECRET"}
    expected = {
        "auth-service": {"MONGODB_URI", "VALKEY_URL"},
        "school-service": names,
        "student-service": names,
        "api-gateway": {"VALKEY_URL"},
        "mongodb": set(),
        "valkey": set(),
    }
    uris = set()
    for name, has in expected.items():
        variables = environment(open_parent.stack.pid(name))
        assert names & variables.keys() == has, name
        uris.add(variables.get("MONGODB_URI"))
    assert len(uris) == 4
    supervisor = int((config.folder / "supervisord.pid").read_text())
    assert not names & environment(supervisor).keys()


def environment(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)
