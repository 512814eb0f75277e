"""`lab` before `up`, `destroy` and `refresh`: locks of the stack's state that a killed Pulumi left behind.

Pulumi locks a stack in a file backend by a file (pulumi: pkg/backend/diy/lock.go) that says who made it, and removes it at its
end; one that is killed does not. A lock is removed only if it is this machine's and its process is not there any more. The
others stay, and so does what cannot be read: Pulumi refuses them, and here the way out is said.
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

from cli.backend import STATE, Backend
from cli.report import say

PROC = Path("/proc")
SLACK = 5.0
"""Seconds by which a process may seem to have begun after it made its lock: the clock of the boot is told in whole seconds, and a
clock that is set moves it."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """made: seconds since 1970."""

    path: Path
    pid: int
    user: str
    host: str
    made: float

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.made).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"made by {self.user}@{self.host} (process {self.pid}) at {when}"


def folder(state: Path, project: str, stack: str) -> Path:
    """Where the backend in the directory `state` keeps the stack's locks."""
    return state / ".pulumi" / "locks" / "organization" / project / stack.rpartition("/")[2]


def found(state: Path, project: str, stack: str) -> tuple[list[Lock], list[Path]]:
    """The locks, and the files in their place that cannot be read as one."""
    locks, others = [], []
    for path in sorted(folder(state, project, stack).glob("*.json")):
        try:
            locks.append(parse(path, path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # removed meanwhile
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            others.append(path)
    return locks, others


def parse(path: Path, text: str) -> Lock:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is no lock."""
    content = json.loads(text)
    # Go writes nanoseconds, of which Python takes six digits.
    made = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", content["timestamp"]))
    return Lock(
        path=path, pid=int(content["pid"]), user=str(content["username"]), host=str(content["hostname"]), made=made.timestamp()
    )


def is_dead(lock: Lock) -> bool:
    """Whether the lock is this machine's and its process has ended: there is none of that number, or it is no Pulumi, or it began
    after the lock was made. What cannot be seen counts as alive.
    """
    if lock.host != socket.gethostname() or lock.pid <= 0:
        return False
    process = PROC / str(lock.pid)
    try:
        name, state, ticks = _stat((process / "stat").read_text(encoding="utf-8", errors="replace"))
        boot = next(int(line.split()[1]) for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    except FileNotFoundError:
        return not _exists(lock.pid)
    except (OSError, ValueError, IndexError, StopIteration):
        return False
    if state in "ZX":  # ended, and its parent has not taken notice
        return True
    return not name.startswith("pulumi") or boot + ticks / os.sysconf("SC_CLK_TCK") > lock.made + SLACK


def _stat(text: str) -> tuple[str, str, int]:
    """Name, state and beginning (clock ticks since boot) of /proc/PID/stat. The name is in parentheses and may hold any sign."""
    before, _, after = text.rpartition(")")
    fields = after.split()
    return before.partition("(")[2], fields[0], int(fields[19])


def _exists(pid: int) -> bool:
    """/proc may hide processes of others (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def release(state: Path, project: str, stack: str) -> list[str]:
    """Remove the locks of processes that are gone. Returns what there is to say."""
    locks, others = found(state, project, stack)
    said = [
        f"the lock {path} of the state of stack {stack} is damaged, as if Pulumi was killed while it wrote it, and Pulumi stops at "
        f"it; remove it if no other run is under way: rm {shlex.quote(str(path))}"
        for path in others
    ]
    for lock in locks:
        if is_dead(lock):
            lock.path.unlink(missing_ok=True)
            said.append(f"removed a lock of the state of stack {stack}, {lock}: that process is gone")
        else:
            said.append(
                f"the state of stack {stack} is locked, {lock}. If that run is over all the same: ./lab pulumi cancel -s {stack}"
            )
    return said


def look(backend: Backend, stack: str) -> None:
    """Release the stack's locks in .lab/state; those of the user's own backend are not ours to look at."""
    if not backend.local:
        return
    for line in release(STATE, backend.project, stack):
        say(line)
