"""What `lab` says of itself, on stderr: stdout is for what was asked for."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """A line, or several, that begins with `lab: `."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()
