"""doctor on data disks."""

from __future__ import annotations

from typing import Any

import pytest

from cli.checks.data_disks import PoolFacts, assess
from components.config import plan
from components.config.settings import Settings

pytestmark = pytest.mark.unit


def findings(facts: dict[str, PoolFacts | None], **disks: Any) -> list[tuple[str, str]]:
    made = plan.make("k3s-macvlan", "dev", Settings.model_validate({"servers": {"disks": disks}}))
    own = {pool.name for pool in (*made.pools, *made.data_pools)}
    return [(finding.level, finding.observed) for finding in assess(facts, made.nodes[0].disks, own, "local")]


def pool(**changes: Any) -> PoolFacts:
    return PoolFacts(**{"kind": "dir", "active": True, "there": frozenset(), **changes})


def test_room_enough() -> None:
    there = pool(there=frozenset({"k3s-macvlan-dev-server-1-a.qcow2"}))
    assert findings({"fast": there}, a={"size": 5, "pool": "fast"}) == [("ok", "1 on local, 1 of them there already")]
    assert findings({"k3s-macvlan-dev": None}, a={"size": 5}) == [("ok", "1 on local, 0 of them there already")], "`up` makes it"


@pytest.mark.parametrize(
    ("found", "words"),
    [(None, "has no storage pool 'fast'"), (pool(kind="logical"), "is of type logical"), (pool(active=False), "is not active")],
)
def test_a_pool_that_does_not_serve_is_an_error(found: PoolFacts | None, words: str) -> None:
    ((level, text),) = findings({"fast": found}, a={"size": 5, "pool": "fast"})
    assert level == "error" and words in text
