"""What a provider process shows: progress while it waits, and errors by their text alone."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

SAY_EVERY = 10.0
"""Seconds between two lines of progress."""


class PlainError(Exception):
    """An error whose text is meant for the user, who is not shown where in the program it came up."""


def say(text: str) -> None:
    """One line in Pulumi's display: the engine shows what a provider process prints."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Speech:
    allowed = False
    """Whether this process may write progress: the provider process alone. Elsewhere (cli, tests) stdout is for results."""
    here = threading.local()
    """What this thread waits for, the innermost last."""
    remarks: ClassVar[set[str]] = set()
    """Remarks that this process has made."""


def remark(text: str) -> None:
    """One line, once in this process and only where `progress` may speak: a preview and the update after it report the same."""
    if _Speech.allowed and text not in _Speech.remarks:
        _Speech.remarks.add(text)
        say(text)


def speak_up() -> None:
    """Let `progress` speak in this process."""
    _Speech.allowed = True


@contextmanager
def progress(text: Callable[[], str]) -> Iterator[None]:
    """Say every ten seconds what `text` gives while the block runs, whatever it waits for; of blocks in blocks the innermost."""
    texts: list[Callable[[], str]] = _Speech.here.__dict__.setdefault("texts", [])
    texts.append(text)
    done = threading.Event()
    if len(texts) == 1 and _Speech.allowed:
        began = time.monotonic()

        def speak() -> None:
            while not done.wait(SAY_EVERY):
                say(f"{texts[-1]()}, {time.monotonic() - began:.0f} s")

        threading.Thread(target=speak, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        texts.pop()


def plain_errors() -> None:
    """Make the provider process report a PlainError as its text, without the traceback that the SDK would send.

    pulumi/dynamic/__main__.py answers every exception with traceback.format_exc(); there is no other place to decide what the
    user sees. Anything but a PlainError is a defect and keeps its traceback.
    """
    original = traceback.format_exc
    if getattr(original, "plain", False):
        return

    @functools.wraps(original)
    def format_exc(limit: int | None = None, chain: bool = True) -> str:
        error = sys.exc_info()[1]
        if isinstance(error, PlainError) and not os.environ.get("PULUMI_DEBUG_COMMANDS"):
            return str(error)
        return original(limit, chain)

    format_exc.plain = True  # type: ignore[attr-defined]
    traceback.format_exc = format_exc
