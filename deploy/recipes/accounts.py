"""The operator's commands on accounts and keys: rotate-keys, create-admin EMAIL.

The auth service's own program carries them out, with the database of the running stack.
"""

from __future__ import annotations

import os
import subprocess
import sys

from deploy import environments
from deploy.config import ROOT, StackConfig
from protocols.topology import AUTH_SERVICE, MODULES


def run(config: StackConfig, *arguments: str) -> bool:
    """Run a command with this terminal as its input and output. Returns whether it succeeded.

    Raises StackError if the environment file of the auth service can't be read.
    """
    saved = config.saved()
    own = environments.read(saved, AUTH_SERVICE)
    environment = {**os.environ, **(environments.settings_of(saved, AUTH_SERVICE) if own is None else own)}
    command = [sys.executable, "-m", f"{MODULES[AUTH_SERVICE]}.commands", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
