"""Whether a verb continues, where it is the one that asks and not Pulumi."""

from __future__ import annotations

import sys


def given(question: str, *, yes: bool) -> bool:
    """The answer of whoever is at the terminal; with -y, or where nobody is, yes, as for `up`. yes: -y was given."""
    if yes or sys.stdin is None or not sys.stdin.isatty():
        return True
    sys.stderr.write(f"lab: {question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
