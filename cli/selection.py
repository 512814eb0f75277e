"""The stack that a verb is about: its file, its state, and the options by which pulumi finds both."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli import backend as backends
from cli import process
from cli.backend import Backend
from cli.errors import LabError
from cli.folders import LAB, ROOT, stack_file


def create(backend: Backend, stack: str, words: Sequence[str] = ()) -> list[str]:
    """Pulumi's options for the stack, which is created where there is none. words: the user's own, which must not change them."""
    _check(backend, stack, words)
    if not backend.local:
        status = process.run(["pulumi", "stack", "select", "--create", stack], stdout=subprocess.DEVNULL)
        if status:
            raise SystemExit(status)
        return ["-s", stack]
    if not backend.has(stack):
        _create_state(backend, stack)
    return ["-s", stack, "--config-file", str(_copy(stack))]


def existing(backend: Backend, stack: str, words: Sequence[str] = ()) -> list[str] | None:
    """The same for a stack that must be there; None if it is not. In the user's own backend pulumi itself says so."""
    _check(backend, stack, words)
    if not backend.local:
        return ["-s", stack]
    return ["-s", stack, "--config-file", str(_copy(stack))] if backend.has(stack) else None


def required(backend: Backend, stack: str) -> list[str]:
    """The same; LabError if there is none yet."""
    options = existing(backend, stack)
    if options is None:
        raise LabError(f"there is no stack {stack} yet: ./lab -s {stack} up")
    return options


def for_reading(stack: str) -> None:
    """Make `pulumi stack output` and the like find the stack; LabError if there is none yet."""
    required(backends.use(stack), stack)


def _check(backend: Backend, stack: str, words: Sequence[str]) -> None:
    """LabError if the stack has no file, or the user's words would mix stacks or be lost."""
    file = stack_file(stack)
    if not file.exists():
        names = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in ROOT.glob("Pulumi.*.yaml"))
        raise LabError(f"no {file.name}; the stacks here: {' '.join(names)}")
    for word in words:
        if word == "--stack" or word.startswith(("--stack=", "-s")):
            raise LabError("say the stack before the verb: ./lab -s STACK")
        if backend.local and (word == "--config" or word.startswith(("--config=", "-c"))):
            raise LabError(f"{word} saves a value in the stack's file, of which a copy is used here: write it into {file.name}")


def _create_state(backend: Backend, stack: str) -> None:
    """In a project of the same name elsewhere, so that the salt is not written into the stack's file here."""
    with tempfile.TemporaryDirectory(prefix="new-", dir=LAB) as folder:
        (Path(folder) / "Pulumi.yaml").write_text(f"name: {backend.project}\nruntime: python\n", encoding="utf-8")
        _copied(stack_file(stack), Path(folder))
        if process.run(["pulumi", "-C", folder, "stack", "init", "--no-select", stack], stdout=sys.stderr):
            raise LabError(f"cannot make the stack {stack} in .lab/state")


def _copy(stack: str) -> Path:
    """The stack's file as Pulumi gets it, which writes into it."""
    return _copied(stack_file(stack), LAB)


def _copied(file: Path, folder: Path) -> Path:
    """In one step: a Pulumi of another run may read the former copy at this moment."""
    try:
        with tempfile.TemporaryDirectory(prefix="copy-", dir=folder) as place:
            return Path(shutil.copyfile(file, Path(place) / file.name)).replace(folder / file.name)
    except OSError as error:
        raise LabError(f"cannot copy {file.name}: {error.strerror or error}") from None
