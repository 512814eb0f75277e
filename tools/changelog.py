#!/usr/bin/env python3
"""Prints what CHANGELOG.md says of the version in the file VERSION: `python3 tools/changelog.py TAG REPOSITORY-URL`.

It ends with an error where the two do not agree, or the tag is of another version. Standard library only: the release workflow runs
it on a machine without the virtual environment.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
UNRELEASED = "Unreleased"

_HEAD = re.compile(r"(?m)^## \[([^\]\n]+)\](?: - (\S+))?$")


class Section(NamedTuple):
    """What is said of one version."""

    version: str
    """Its number, or UNRELEASED."""
    date: str
    """As YYYY-MM-DD; empty for what is unreleased."""
    text: str


class ChangelogError(Exception):
    """Its text is meant for who makes the release: what does not agree, and the remedy."""


def sections(changelog: str) -> list[Section]:
    """The versions, newest first, each without its heading and without the links at the end of the file."""
    body = re.sub(r"(?m)^\[[^\]\n]+\]: .*\n?", "", changelog)
    _head, *rest = _HEAD.split(body)
    groups = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    return [Section(version, date or "", text.strip()) for version, date, text in groups]


def notes(changelog: str, version: str, tag: str, repository: str) -> str:
    """The section of the version that is released. Raises ChangelogError.

    Links into the repository lead to its files of this tag: on the page of a release they would lead nowhere.
    """
    if tag != f"v{version}":
        raise ChangelogError(f"the tag is {tag}, and VERSION has {version}: tag v{version}, or correct VERSION")
    released = [section for section in sections(changelog) if section.version != UNRELEASED]
    if not released or released[0].version != version:
        newest = released[0].version if released else "none"
        raise ChangelogError(f"the newest version in CHANGELOG.md is {newest}, and VERSION has {version}: write its section")
    return re.sub(r"\]\((?!https?:)", f"]({repository}/blob/{tag}/", released[0].text)


def main(arguments: list[str]) -> int:
    tag, repository = arguments
    version = (ROOT / "VERSION").read_text(encoding="utf-8").strip()
    try:
        text = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version, tag, repository)
    except ChangelogError as error:
        sys.stderr.write(f"changelog: {error}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
