"""What a command costs, with everything it starts: wall time, CPU time, peak memory. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_INTERVAL = 0.1
_SHARE = 0.02
"""Of a core, what watching the memory takes at most: it is no part of what is measured, and would slow it down."""
_ORPHANS = 5.0
"""Seconds that processes which outlive the command get to end, so that their CPU time is counted."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one command cost, with all processes that it started."""

    seconds: float
    """Wall time."""
    cpu: float
    """Seconds of user and system time, of all processes."""
    memory: float
    """Peak of the sum of their proportional set sizes, MiB."""
    without_engine: float
    """The same of all processes but the engine (`pulumi`), MiB."""
    status: int
    """Exit status."""
    output: str
    """stdout and stderr."""

    def figures(self) -> dict[str, float]:
        """The figures under their keys in the JSON file, rounded."""
        return {
            "seconds": round(self.seconds, 2),
            "cpu": round(self.cpu, 2),
            "memory": round(self.memory, 1),
            "beside": round(self.without_engine, 1),
        }


def measure(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Cost:
    """Run the command to its end. Not for several at a time in one process: the CPU time is that of all children."""
    with _adopting_orphans():
        return _measure(command, cwd, environment)


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Processes that lose their parent become children of this one, so that their CPU time is counted when they end."""
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)


def _measure(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Cost:
    cpu_before, started = _cpu(), time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    peaks = Peaks()
    watch = threading.Thread(target=peaks.watch, args=(process.pid,), daemon=True)
    watch.start()
    output = process.stdout.read() if process.stdout else ""
    status = process.wait()
    seconds = time.monotonic() - started
    peaks.done.set()
    watch.join()
    _reap()
    return Cost(
        seconds=seconds,
        cpu=_cpu() - cpu_before,
        memory=peaks.together,
        without_engine=peaks.without_engine,
        status=status,
        output=output,
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reap() -> None:
    deadline = time.monotonic() + _ORPHANS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)


class Peaks:
    """Peak memory of a process and its descendants, in MiB, sampled ten times a second, or less often where that takes long."""

    def __init__(self, memory: Callable[[int], dict[int, tuple[str, float]]] | None = None) -> None:
        self.together = self.without_engine = 0.0
        self.done = threading.Event()
        self.memory = memory or tree

    def watch(self, root: int) -> None:
        pause = _INTERVAL
        while not self.done.wait(pause):
            begin = time.thread_time()
            self.sample(root)
            pause = max(_INTERVAL, (time.thread_time() - begin) / _SHARE)

    def sample(self, root: int) -> None:
        sizes = self.memory(root).values()
        self.together = max(self.together, sum(size for _, size in sizes))
        self.without_engine = max(self.without_engine, sum(size for name, size in sizes if name != "pulumi"))


def tree(root: int) -> dict[int, tuple[str, float]]:
    """(name, proportional set size in MiB) of the process and its descendants."""
    names, children = {}, defaultdict(list)
    for pid, name, parent in _processes():
        names[pid] = name
        children[parent].append(pid)
    sizes, todo = {}, [root]
    while todo:
        pid = todo.pop()
        todo += children[pid]
        if pid in names:
            sizes[pid] = (names[pid], _size(pid))
    return sizes


def _processes() -> Iterator[tuple[int, str, int]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # The process may end while it is read.
            with contextlib.suppress(OSError, ValueError, IndexError):
                text = Path(entry.path, "stat").read_text(errors="replace")
                name, _, rest = text.partition("(")[2].rpartition(")")
                yield int(entry.name), name, int(rest.split()[1])


def _size(pid: int) -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
