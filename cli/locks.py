"""`lab` before `up`, `destroy` and `refresh`: locks of the stack's state that a killed Pulumi left behind.

Pulumi locks a stack in a file backend by a file (pulumi: pkg/backend/diy/lock.go) that says who made it, and removes it at its
end; one that is killed does not. A lock is removed only if it is this machine's and its process has ended. The others stay,
and so do files that cannot be read: Pulumi stops at them, and `lab` prints the remedy.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cli import backend as backends
from cli.backend import Backend
from cli.report import say

PROC = Path("/proc")
SLACK = 5.0
"""Seconds by which a process may seem to have begun after it made its lock: the kernel reports the time of the boot in whole
seconds, and setting the clock moves it."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock of a stack's state."""

    path: Path
    """The lock's file."""
    pid: int
    """Process that made it."""
    user: str
    """Login name of that process's user."""
    host: str
    """Host name of the machine that it runs on."""
    made: float
    """When it was made, in seconds since 1970."""

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.made).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"made by {self.user}@{self.host} (process {self.pid}) at {when}"


def folder(state: Path, project: str, stack: str) -> Path:
    """Where the backend in the directory `state` keeps the stack's locks."""
    return state / ".pulumi" / "locks" / "organization" / project / stack.rpartition("/")[2]


def read_locks(state: Path, project: str, stack: str) -> tuple[list[Lock], list[Path]]:
    """The locks, and the files in their place that cannot be read as one."""
    locks, damaged = [], []
    for path in sorted(folder(state, project, stack).glob("*.json")):
        try:
            locks.append(parse(path, path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # removed meanwhile
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            damaged.append(path)
    return locks, damaged


def parse(path: Path, text: str) -> Lock:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is no lock."""
    content = json.loads(text)
    # Go writes nanoseconds, of which Python takes six digits.
    made = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", content["timestamp"]))
    return Lock(
        path=path, pid=int(content["pid"]), user=str(content["username"]), host=str(content["hostname"]), made=made.timestamp()
    )


def is_dead(lock: Lock) -> bool:
    """Whether the lock is this machine's and its process has ended: no process has that number, or the one that has it began after
    the lock was made. Names say nothing: a Pulumi that a wrapper starts has another (`.pulumi-wrapped`, of nixpkgs). A process that
    cannot be read counts as alive.
    """
    if lock.host != socket.gethostname() or lock.pid <= 0:
        return False
    process = PROC / str(lock.pid)
    try:
        state, ticks = _stat((process / "stat").read_text(encoding="utf-8", errors="replace"))
        boot = next(int(line.split()[1]) for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    except FileNotFoundError:
        return not _exists(lock.pid)
    except (OSError, ValueError, IndexError, StopIteration):
        return False
    if state in "ZX":  # it has ended, and its parent has not waited for it
        return True
    return boot + ticks / os.sysconf("SC_CLK_TCK") > lock.made + SLACK


def _stat(text: str) -> tuple[str, int]:
    """State and beginning (clock ticks since boot) of /proc/PID/stat. A name in parentheses, which may hold any sign, is before."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _exists(pid: int) -> bool:
    """Whether a process has that number, also where /proc hides the processes of other users (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def release(state: Path, project: str, stack: str) -> list[str]:
    """Remove the locks of processes that have ended. Returns the lines to print."""
    locks, damaged = read_locks(state, project, stack)
    lines = [
        f"the lock {path} of the state of stack {stack} is damaged, as if Pulumi was killed while it wrote it, and Pulumi stops at "
        f"it; remove it if no other run is under way: rm {shlex.quote(str(path))}"
        for path in damaged
    ]
    for lock in locks:
        if is_dead(lock):
            lock.path.unlink(missing_ok=True)
            lines.append(f"removed a lock of the state of stack {stack}, {lock}: that process has ended")
        else:
            lines.append(
                f"the state of stack {stack} is locked, {lock}. If that run is over all the same: ./lab pulumi cancel -s {stack}"
            )
    return lines


def release_and_report(backend: Backend, stack: str) -> None:
    """Release the stack's locks in a backend of this machine's files, and print what was done."""
    state = backends.directory(backend)
    if state is None:
        return
    for line in release(state, backend.project, stack):
        say(line)
