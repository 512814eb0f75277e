"""The engine's own event log: when each resource began and ended.

The log gives whole seconds, so it is read through a pipe while the engine writes it, and each line gets the time at which
it came. The order in time is the log's.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_DONE = ("resOutputsEvent", "resOpFailedEvent")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One operation on one resource."""

    name: str
    kind: str
    """Last part of the resource's type token."""
    urn: str
    op: str
    """The engine's name of the operation: create, update, delete, ..."""
    start: float
    """Seconds since the command's start."""
    end: float
    """Seconds since the command's start."""

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass
class Log:
    """Lines of an event log with the seconds since `begin` at which they came."""

    begin: float = 0.0
    """time.monotonic() of the start."""
    lines: list[tuple[float, str]] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[tuple[Path, Log]]:
    """A path for `--event-log`, and the lines that are written there. Seconds count from when the block was entered."""
    with TemporaryDirectory(prefix="events-") as name:
        pipe = Path(name) / "log"
        os.mkfifo(pipe)
        # Our own end for writing keeps the pipe open until the block is left, whenever the engine opens and closes its own.
        reading, writing = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), os.open(pipe, os.O_WRONLY)
        os.set_blocking(reading, True)
        log = Log(begin=time.monotonic())

        def read() -> None:
            with os.fdopen(reading, encoding="utf-8", errors="replace") as source:
                for line in source:
                    log.lines.append((time.monotonic() - log.begin, line))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield pipe, log
        finally:
            os.close(writing)
            reader.join()


def bars(lines: Iterable[tuple[float, str]]) -> list[Bar]:
    """The operations on real resources in the order of their begin.

    Resources that stay the same, components and the providers that the engine makes itself are left out, and so is the preview
    that `up` begins with: it ends in a summary of its own.
    """
    begun: dict[tuple[str, str], float] = {}
    timeline: list[Bar] = []
    for at, line in lines:
        event = json.loads(line)
        if event.get("summaryEvent", {}).get("isPreview"):
            begun, timeline = {}, []
        if "resourcePreEvent" in event:
            step = event["resourcePreEvent"]["metadata"]
            begun[step["urn"], step["op"]] = at
        for kind in _DONE:
            if kind in event:
                step = event[kind]["metadata"]
                start = begun.pop((step["urn"], step["op"]), None)
                if start is not None and _counts(step):
                    name, type_ = step["urn"].rsplit("::", 1)[-1], step["type"].rsplit(":", 1)[-1]
                    timeline.append(Bar(name=name, kind=type_, urn=step["urn"], op=step["op"], start=start, end=at))
    return sorted(timeline, key=lambda bar: (bar.start, bar.end, bar.name))


def _counts(step: Mapping[str, Any]) -> bool:
    state = step.get("new") or step.get("old") or {}
    made_by_the_engine = step["type"].startswith("pulumi:providers:") and step["urn"].rsplit("::", 1)[-1].startswith("default")
    return bool(state.get("custom")) and step["op"] not in ("same", "read", "refresh") and not made_by_the_engine


def dependencies(state: Mapping[str, Any]) -> dict[str, set[str]]:
    """What each resource of an exported state waits for, by URN: dependencies and its provider."""
    needs_of = {}
    for resource in (state.get("deployment") or {}).get("resources") or ():
        needs = set(resource.get("dependencies") or ())
        if resource.get("provider"):
            needs.add(str(resource["provider"]).rsplit("::", 1)[0])
        needs_of[str(resource["urn"])] = needs
    return needs_of


def critical_path(timeline: Iterable[Bar], needs: Mapping[str, set[str]]) -> list[Bar]:
    """From the bar that ends last back along what it waited for longest; first bar first."""
    by_urn = {bar.urn: bar for bar in timeline}
    path: list[Bar] = []
    last = max(by_urn.values(), key=lambda bar: bar.end, default=None)
    while last is not None:
        path.append(last)
        waited_for = [by_urn[urn] for urn in needs.get(last.urn, ()) if urn in by_urn and by_urn[urn] not in path]
        last = max(waited_for, key=lambda bar: bar.end, default=None)
    return path[::-1]
