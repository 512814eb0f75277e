"""Which version this is: `./lab --version`. Standard library only, as `command_line`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

from cli.folders import ROOT


def version(root: Path = ROOT) -> str:
    """The release, of the file VERSION."""
    return (root / "VERSION").read_text(encoding="utf-8").strip()


def commit(root: Path = ROOT) -> str:
    """The commit of a checkout, abbreviated, with -dirty where files of it are changed; empty where git does not say.

    A copy without a .git of its own may be inside of another checkout, whose commit says nothing about it.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return ""
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no words of a user
    return done.stdout.strip() if done.returncode == 0 else ""


def text(root: Path = ROOT) -> str:
    """Version and commit on one line."""
    checkout = commit(root)
    return f"k3s-macvlan {version(root)}{f' ({checkout})' if checkout else ''}"


class ShowVersion(argparse.Action):
    """Prints the version and ends the process: argparse's own action would have git run for every command line."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(text())  # noqa: T201 - it is what the user asked for
        parser.exit()
