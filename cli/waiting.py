"""A wait of a verb: its limit, and the lines that say what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

from cli.report import say

SAY_SECONDS = 10.0
"""Between two lines of progress."""


class Waiting:
    """A wait that begins now."""

    def __init__(self, limit: float, clock: Callable[[], float] | None = None) -> None:
        """limit: in seconds. clock: of seconds; None: time.monotonic."""
        self._limit, self._clock = limit, clock or time.monotonic
        self._began = self._said = self._clock()

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return self._clock() - self._began

    @property
    def is_over(self) -> bool:
        """Whether its limit is reached."""
        return self.seconds >= self._limit

    def report(self, text: str) -> None:
        """Say what is waited for, unless that was said a moment ago."""
        now = self._clock()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            say(f"{text}, {now - self._began:.0f} of {self._limit:.0f} s")
