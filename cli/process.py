"""Other programs: in our place, or as children that end before we do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, NoReturn


def replace_by(program: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """The program in place of this process, so that each signal reaches it directly. words: with its name as the first.

    Python ignores SIGPIPE and SIGXFSZ, and what is ignored would be so in the program too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execvpe(program, list(words), dict(os.environ if environment is None else environment))  # noqa: S606 - no shell is meant
    raise AssertionError("exec does not return")


Stream = IO[str] | IO[bytes] | int | None


def run(words: Sequence[str], *, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None) -> int:
    """The program's status, 128 and the signal if one ended it. A Ctrl-C is the program's too: we wait until it has ended."""
    interrupts: list[int] = []
    previous_handler = signal.getsignal(signal.SIGINT)
    if previous_handler is not signal.SIG_IGN:  # as of a background job, whose programs ignore it too
        signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    try:
        with subprocess.Popen(list(words), stdin=stdin, stdout=stdout, stderr=stderr) as child:  # noqa: S603 - no shell is meant
            status = child.wait()
    finally:
        signal.signal(signal.SIGINT, previous_handler)
    if interrupts:
        raise KeyboardInterrupt
    return status if status >= 0 else 128 - status
