"""A command under way that a test can watch and interrupt."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path


class Run:
    """A command under way in a process group of its own, as one that a terminal started, with what it has printed so far."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.text = ""
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.text += line

    def saw(self, pattern: str, limit: float = 600) -> None:
        """Wait until what is printed matches; fail when the command ends before, or at the limit."""
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, f"ended without {pattern!r}:\n{self.text[-4000:]}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {limit} s:\n{self.text[-4000:]}"
            time.sleep(0.1)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """What a terminal does at Ctrl-C: the signal is sent to all of the group."""
        os.killpg(self.process.pid, number)

    def end(self, limit: float) -> int:
        """Its exit code; at the limit it is killed and the test fails."""
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.interrupt(signal.SIGKILL)
            raise AssertionError(f"did not end in {limit} s:\n{self.text[-6000:]}") from None
        self._reader.join(10)
        return code
