"""Network namespaces for tests: made, wired and removed by commands of `ip`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest


def ip(words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words.split()], capture_output=True, text=True, check=False)


@contextmanager
def namespaces(names: Sequence[str], commands: Sequence[str], leftovers: Sequence[str] = ()) -> Iterator[None]:
    """Namespaces of these names, and what the commands make in them; the test is skipped where the machine refuses one.

    leftovers: names of namespaces that the tested program makes, and that a killed one leaves.
    """
    all_names = [*names, *leftovers]

    def clear() -> None:
        for name in all_names:
            ip(f"netns delete {name}")

    clear()
    try:
        for words in (*(f"netns add {name}" for name in names), *commands):
            done = ip(words)
            if done.returncode:
                pytest.skip(f"SKIPPED: no network namespaces here: ip {words}: {done.stderr}")
        yield
    finally:
        clear()
