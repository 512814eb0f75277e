"""The closed test network, where one is on this machine (docs/test-network.md): whether it can be used, its start and its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cli import process, reaper
from cli.folders import LAB, ROOT
from cli.report import say

LOG = LAB / "testnet.log"


class ClosedNetwork:
    """The closed test network; `stop` stops it if `start` started it."""

    def __init__(self) -> None:
        self.script = os.environ.get("LAB_TESTNET") or f"{ROOT}/../shared/testnet/testnet"
        """Path of its command."""
        self._started = False

    def obstacle(self) -> str:
        """Why it cannot be used, empty if it can."""
        if not os.access(self.script, os.X_OK) or Path(self.script).is_dir():
            return f"the closed test network is not here (LAB_TESTNET: {self.script})"
        if subprocess.run(["id", "-u"], capture_output=True, text=True, check=False).stdout.strip() != "0":  # noqa: S607
            return "the closed test network needs root"
        # Without K3s's own binary the tests run on the stand-in, and report that.
        lines = [line for line in self._status() if "own binary" not in line]
        missing = [line.split()[1] for line in lines if line.split()[:1] == ["MISSING"]]
        return f"the closed test network is not built (missing: {' '.join(missing)})" if missing else ""

    def start(self) -> bool:
        """Start it, and return whether it is up. At a failure the last lines of its output are printed; all of it is in LOG."""
        if not any(line.split()[:1] == ["up"] for line in self._status()):
            self._started = True
        with LOG.open("wb") as log:
            command = [self.script, "start"]
            words = [sys.executable, reaper.__file__, *command]
            status = process.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        if status:
            last = LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            print("\n".join(last), flush=True)  # noqa: T201 - it is part of the tests' output
        return status == 0

    def stop(self) -> None:
        """Only if it was started here."""
        if not self._started:
            return
        self._started = False
        if process.run([self.script, "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            say("could not stop the closed test network")

    def inside(self, *variables: str) -> list[str]:
        """The command before another one that runs it inside, with these variables (NAME=VALUE)."""
        return [self.script, "exec", "env", *variables]

    def _status(self) -> list[str]:
        done = subprocess.run([self.script, "status"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)  # noqa: S603
        return done.stdout.splitlines()
