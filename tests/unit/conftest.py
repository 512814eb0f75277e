"""What all unit tests share."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pulumi import resource_hooks

# A case takes as long as a busy machine lets it.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_engine_for_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook registers itself with the engine in a task of its own. Without an engine that task fails and nothing awaits it, so
    Python reports it when it collects garbage: in the middle of another test, where it has broken `ast.parse` (measured)."""
    monkeypatch.setattr(resource_hooks, "register_error_hook", lambda _hook: None)
    monkeypatch.setattr(resource_hooks, "register_resource_hook", lambda _hook: None)


@pytest.fixture
def own_namespaces(request: pytest.FixtureRequest) -> Iterator[None]:
    """Network namespaces have names on the whole machine: so one test of a folder at a time, also of other workers and runs."""
    lock = Path(tempfile.gettempdir()) / f"k3s-macvlan-namespaces-{request.path.parent.name}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


WAITING = ("scripts", "docs", "cli")
"""Folders with files whose tests wait for programs that they start."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: with several workers they are handed out in this order, each whole."""
    items.sort(key=lambda item: WAITING.index(item.path.parent.name) if item.path.parent.name in WAITING else len(WAITING))
