"""Pulumi on this machine: the program that `lab` has put in place, and its plugins."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cli import process
from cli.errors import LabError
from cli.folders import ROOT

PLUGINS = ("command", "kubernetes")
"""Resource providers, each of the version that its Python package has in requirements.txt."""


def home() -> Path:
    """Where Pulumi keeps its plugins and its login, and `lab` Pulumi itself (in bin)."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def path() -> str:
    """The Pulumi program: on PATH, or where `lab` installs it."""
    program = shutil.which("pulumi") or shutil.which("pulumi", path=str(home() / "bin"))
    if program is None:
        raise LabError("there is no pulumi on PATH: `./lab preview` installs it")
    return program


def pinned() -> dict[str, str]:
    """Versions by package of requirements.txt."""
    return versions((ROOT / "requirements.txt").read_text(encoding="utf-8"))


def versions(requirements: str) -> dict[str, str]:
    """Versions by package of a requirements file's text."""
    return dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^\s#]+)", requirements))


def plugin_folder(name: str, version: str) -> Path:
    return home() / f"plugins/resource-{name}-v{version}"


def install_plugins() -> None:
    """Each plugin that is neither installed nor on PATH."""
    pins = pinned()
    for name in PLUGINS:
        version = pins[f"pulumi-{name}"]
        if shutil.which(f"pulumi-resource-{name}") or plugin_folder(name, version).is_dir():
            continue
        if process.run(["pulumi", "plugin", "install", "resource", name, version]):
            raise LabError(
                f"cannot download the plugin {name} {version}: get its release archive and say 'pulumi plugin install resource "
                f"{name} {version} -f FILE', or put pulumi-resource-{name} into {home()}/bin"
            )


def become(words: Sequence[str]) -> NoReturn:
    """`pulumi WORDS` in place of this process."""
    process.replace_by("pulumi", ["pulumi", *words])


def consent(yes: bool) -> list[str]:
    """Pulumi's option not to ask, if -y was given or nobody is at the terminal."""
    return ["--yes"] if yes or sys.stdin is None or not sys.stdin.isatty() else []
