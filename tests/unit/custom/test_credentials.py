"""Tokens: another one when a run rotates them, and never another resource; which one a data disk has."""

from typing import Any

import pytest
from pulumi.dynamic import CreateResult, UpdateResult
from pulumi.output import Unknown

from components.custom.credentials import DataTokenProvider, TokenProvider

pytestmark = pytest.mark.unit


def outs(result: CreateResult | UpdateResult) -> dict[str, Any]:
    assert result.outs is not None
    return result.outs


def test_a_token_is_another_one_only_in_a_run_that_rotates() -> None:
    provider = TokenProvider()
    state = outs(provider.create({"bytes": 32.0}))
    assert not provider.diff("", state, {"bytes": 32.0}).changes
    rotation = provider.diff("", state, {"bytes": 32.0, "rotate": True})
    assert rotation.changes and not rotation.replaces, "much is deleted with this resource"
    rotated = outs(provider.update("", state, {"bytes": 32.0, "rotate": True}))
    assert len(rotated["value"]) == 64 and rotated["value"] != state["value"]
    assert not provider.diff("", rotated, {"bytes": 32.0}).changes, "the next run has no request"
    again = provider.diff("", {**rotated, "rotate": True}, {"bytes": 32.0, "rotate": True})
    assert again.changes


class Run:
    """The engine's way with the resource: inputs go through check, and are stored."""

    def __init__(self) -> None:
        self.provider = DataTokenProvider()
        self.inputs: dict[str, Any] = {}

    def __call__(self, disk: Any, own: Any, *, rotate: bool | None = None) -> bool:
        news = {"disk": disk, "own": own, **({"rotate": rotate} if rotate else {})}
        former, self.inputs = self.inputs, self.provider.check(self.inputs, news).inputs
        changes = self.provider.diff("", former, self.inputs).changes
        assert changes is any(former.get(name) != self.inputs[name] for name in ("disk", "own", "rotated"))
        return bool(self.inputs["rotated"])


def test_a_disk_keeps_the_token_it_came_with_until_that_is_rotated() -> None:
    run = Run()
    assert run("disk", "a") is False, "the stack is new, and the cluster on the disk older"
    assert run("disk", "a") is False
    assert run("disk", "b", rotate=True) is True
    assert run("disk", "b") is True, "and it stays"
    assert run("disk", "c", rotate=True) is True
    assert run("other", "c") is False, "another disk has its own again"


def test_a_rotation_that_was_cut_off_continues() -> None:
    """The stack's token was made, and the run ended before this resource."""
    run = Run()
    run("disk", "a")
    assert run("disk", "b") is True


def test_a_preview_of_a_rotation_knows_it() -> None:
    run = Run()
    run("disk", "a")
    unknown = Unknown()  # type: ignore[no-untyped-call]
    assert run("disk", unknown, rotate=True) is True


def test_the_first_run_that_knows_this_may_be_the_rotation() -> None:
    assert Run()("disk", "b", rotate=True) is True
