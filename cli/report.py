"""What `lab` reports of its own work, on stderr: stdout is for the result of the verb."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """A line, or several, that begins with `lab: `."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()
