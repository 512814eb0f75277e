"""Folders of this machine that the verbs use."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / ".lab"
"""State, passphrase, copies of stack files, logs of the set-up and results of the tests; not in git."""


def stack_file(stack: str, root: Path = ROOT) -> Path:
    """Pulumi.STACK.yaml, of a stack whose name may have an organization before it."""
    return root / f"Pulumi.{stack.rpartition('/')[2]}.yaml"


def caller() -> Path:
    """The folder `lab` was called in; it changes into its own."""
    return Path(os.environ.get("LAB_CALLER") or ".")
