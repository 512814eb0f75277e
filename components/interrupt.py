"""How the program ends when Pulumi ends it: after a resource has failed, or at Ctrl-C, Pulumi sends it SIGINT.

Python would answer with two tracebacks of Pulumi's own launcher, printed below the error that matters.
"""

from __future__ import annotations

import os
import signal
import sys

LAUNCHER = "pulumi-language-python-exec"


def run_by_pulumi() -> bool:
    """Whether Pulumi runs this process; in tests it does not."""
    # The launcher runs the program by runpy, which puts the program's own names into sys.argv and sys.modules meanwhile.
    return any(word.endswith(LAUNCHER) for word in sys.orig_argv)


def exit_without_traceback() -> None:
    """Exit without a traceback at SIGINT, where Pulumi runs this process; elsewhere (in tests) nothing is changed."""
    if run_by_pulumi():
        signal.signal(signal.SIGINT, lambda *_: os._exit(1))
