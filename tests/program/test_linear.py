"""What another node costs the program: the same, however many there are. Counted, not timed."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from pulumi import log
from pulumi.runtime import rpc
from pulumi.runtime.settings import SETTINGS

from bench import scale
from components import sdk_shortcuts

from .conftest import Run
from .engine import config_of, run

pytestmark = pytest.mark.program


class Counted(set[Any]):
    """A set that counts what is added to it."""

    def __init__(self, counts: Counter[str], name: str) -> None:
        super().__init__()
        self.counts, self.name = counts, name

    def add(self, item: Any) -> None:
        self.counts[self.name] += 1
        super().add(item)


def counts(monkeypatch: pytest.MonkeyPatch, nodes: int) -> Counter[str]:
    """Of one run: resources, outputs that were made, and how many a wait for several has subscribed to."""
    counted: Counter[str] = Counter()
    wait = asyncio.wait

    async def counting(futures: Any, **options: Any) -> Any:
        futures = list(futures)
        counted["subscriptions"] += len(futures)
        return await wait(futures, **options)

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "wait", counting)
        patched.setattr(SETTINGS, "outputs", Counted(counted, "outputs"))
        counted["resources"] = len(run(config_of("dev", scale.changes(nodes)), mode="again").resources)
    return counted


def test_three_more_nodes_take_what_the_three_before_them_took(monkeypatch: pytest.MonkeyPatch) -> None:
    small, middle, large = (counts(monkeypatch, nodes) for nodes in (3, 6, 9))
    assert large["resources"] - middle["resources"] == middle["resources"] - small["resources"] > 50
    # A pod waits for a few steps on each node, which is 4 outputs more for each pair of nodes.
    for name, allowed in (("subscriptions", 1.01), ("outputs", 1.1)):
        before, after = middle[name] - small[name], large[name] - middle[name]
        assert 0 < after <= allowed * before, f"{name}: {before} for the second three nodes, {after} for the third"
        assert large[name] < 35 * large["resources"], f"{name} for each resource"


def test_without_what_the_program_skips_of_the_sdk_all_is_registered_the_same(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = deploy("ha", {}, "again")
    monkeypatch.setattr(log, "debug", log.debug)
    monkeypatch.setattr(rpc, "declare_dependency", vars(rpc)["declare_dependency"])
    sdk_shortcuts.skip(log, rpc)
    skipped = run(config_of("ha"), stack_name="ha", mode="again")
    assert skipped.resources == whole.resources
    assert skipped.outputs == whole.outputs
