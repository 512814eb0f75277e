"""What ends a verb with a message and not with a traceback."""

from __future__ import annotations


class LabError(Exception):
    """Its text is meant for the user: what is wrong, and the remedy."""
