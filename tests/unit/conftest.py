"""What all unit tests share."""

from __future__ import annotations

import pytest
from pulumi import resource_hooks


@pytest.fixture(autouse=True)
def no_engine_for_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook registers itself with the engine in a task of its own. Without an engine that task fails and nothing awaits it, so
    Python reports it when it collects garbage: in the middle of another test, where it has broken `ast.parse` (measured)."""
    monkeypatch.setattr(resource_hooks, "register_error_hook", lambda _hook: None)
    monkeypatch.setattr(resource_hooks, "register_resource_hook", lambda _hook: None)
