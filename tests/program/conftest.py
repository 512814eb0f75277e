"""Runs of the program are kept: the same configuration in the same mode is run once for all tests."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from .engine import Deployment, Mode, config_of, run

Run = Callable[..., Deployment]
_KEPT: dict[str, Deployment] = {}


@pytest.fixture
def deploy() -> Run:
    """deploy(stack, change, mode): the program run once with a stack file's configuration and these changes."""

    def once(name: str = "dev", change: Mapping[str, Any] | None = None, mode: Mode = "up") -> Deployment:
        config = config_of(name, change)
        key = json.dumps([name, mode, config], sort_keys=True)
        if key not in _KEPT:
            _KEPT[key] = run(config, stack_name=name, mode=mode)
            # It stays until the end, so no later collection needs to look at it.
            gc.collect()
            gc.freeze()
        return _KEPT[key]

    return once


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the real engine's runs first: with several workers, files are handed out in this order, each whole."""
    items.sort(key=lambda item: item.path.name != "test_policy_engine.py")
