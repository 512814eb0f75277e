"""`./lab --version` in a checkout, in a copy of one, and where git does not answer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cli import version

pytestmark = pytest.mark.unit


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "VERSION").write_text("1.2.3\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "First")
    return folder


def test_a_checkout_has_its_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "--short", "HEAD")
    git(checkout, "tag", "v1.2.3")  # no name in place of the commit
    assert version.text(checkout) == f"k3s-macvlan 1.2.3 ({commit})"
    (checkout / "VERSION").write_text("1.2.4\n")
    assert version.text(checkout) == f"k3s-macvlan 1.2.4 ({commit}-dirty)"


def test_a_copy_in_another_checkout_has_none(checkout: Path) -> None:
    copy = checkout / "copy"
    copy.mkdir()
    (copy / "VERSION").write_text("1.2.3\n")
    assert version.text(copy) == "k3s-macvlan 1.2.3"


@pytest.mark.parametrize("there", [True, False], ids=["fails", "absent"])
def test_without_an_answer_of_git_the_version_is_said(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    if there:
        (programs / "git").write_text("#!/bin/sh\necho half; exit 128\n")
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert version.text(checkout) == "k3s-macvlan 1.2.3"


def test_the_version_is_of_semantic_versioning() -> None:
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", version.version())
