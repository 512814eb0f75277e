"""What `up` would change, and verbs that refuse to run where it would: they expect each node to be as the state has it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from cli import engine
from cli.errors import LabError


def refuse(stack: str, chosen: Sequence[str]) -> None:
    """LabError where a preview has changes. chosen: Pulumi's options for the stack."""
    if preview := changes(chosen):
        raise LabError(
            f"`up` has other changes to make: ./lab -s {stack} up first (or ./lab refresh, where `up` finds nothing to do). Its "
            f"preview ends with:\n{preview}"
        )


def changes(chosen: Sequence[str]) -> str:
    """The end of a preview that has changes, or fails; empty where there are none."""
    words = [engine.path(), "preview", *chosen, "--expect-no-changes", "--suppress-progress"]
    done = subprocess.run(  # noqa: S603 - our own arguments
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return "" if done.returncode == 0 else "\n".join(done.stdout.rstrip().splitlines()[-12:]) or f"status {done.returncode}"
