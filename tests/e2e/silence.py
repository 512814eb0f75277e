"""How long an API does not answer, measured from this machine."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.cluster import kubernetes_api


@dataclass
class Silence:
    """Requests to an API, and the gaps between those that were answered."""

    answered: list[float] = field(default_factory=list)
    """Seconds since the beginning, of each answer."""
    sent: int = 0
    """How many were sent."""

    @property
    def longest(self) -> float:
        """Seconds of the longest time without an answer between two answers."""
        return max((later - earlier for earlier, later in zip(self.answered, self.answered[1:], strict=False)), default=0.0)

    def __str__(self) -> str:
        return f"{len(self.answered)} of {self.sent} requests answered, longest silence {self.longest:.1f} s"


@contextmanager
def silence(kubeconfig: str, what: str) -> Iterator[Silence]:
    """Query whether the kubeconfig's API is ready, on a new connection each half second, and print the longest silence at the end.

    A request gets 2 s: one that was begun while nobody has the address must not hide that somebody has it again.
    """
    measured, done, began = Silence(), threading.Event(), time.monotonic()
    server, director = kubernetes_api.opener(kubeconfig)

    def query() -> None:
        while not done.wait(0.5):
            measured.sent += 1
            try:
                with director.open(f"{server}/readyz", timeout=2) as answer:
                    if answer.read() == b"ok":
                        measured.answered.append(time.monotonic() - began)
            except (OSError, http.client.HTTPException):
                pass

    thread = threading.Thread(target=query)
    thread.start()
    try:
        yield measured
    finally:
        done.set()
        thread.join()
        print(f"{what}: {server}: {measured}")
