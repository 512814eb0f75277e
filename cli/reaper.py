"""`python reaper.py COMMAND…`: runs the command, and leaves a process behind that collects what the command has left running.

libvirt ends a machine or a dnsmasq by a signal, and waits until its process does not exist any more. A process whose parent has
ended exists until process 1 collects it, which in some containers takes two seconds (seen: half of the time of the provider
tests). So those that a closed test network starts are given a parent that collects them at once, and ends with the last of them.

Exit: the command's status. Linux alone: prctl(2), PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_PR_SET_CHILD_SUBREAPER = 36


def main(command: Sequence[str]) -> int:
    """The command's status, 128 and the signal if one ended it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        _collect(command, writing)
        os._exit(0)
    os.close(writing)
    # A Ctrl-C at the terminal is for who waits for this process, which has the command's status to report.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(reading) as report:
        return int(report.read() or 1)


def _collect(command: Sequence[str], report: int) -> None:
    """Run the command, write its status to `report`, and return when no process that it has started is left."""
    os.setsid()
    # Where it fails, process 1 does later what this process is for.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - no shell is meant
    os.write(report, str(status if status >= 0 else 128 - status).encode())
    os.close(report)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
