"""Key pairs of the stack: another pair in place of one, and what stays known of the first."""

from __future__ import annotations

from typing import Any

import pytest

from components.custom.credentials import SshKeyPairProvider
from components.node.keys import public_key

pytestmark = pytest.mark.unit

COMMENT = {"comment": "k3s-macvlan/dev"}


def update(olds: dict[str, Any], rotation: str) -> dict[str, Any]:
    provider = SshKeyPairProvider()
    wanted = {**COMMENT, "rotation": rotation}
    inputs = provider.check({name: olds[name] for name in ("comment", "rotation") if name in olds}, wanted).inputs
    outs = provider.update("id", olds, inputs).outs
    assert outs is not None
    return outs


def test_another_pair_keeps_the_first_public_key_whatever_often_it_is_replaced() -> None:
    first = SshKeyPairProvider().create(dict(COMMENT)).outs
    assert first is not None and len(first["public_key"].splitlines()) == 1
    former, outs = {first["private_key"]}, first
    for rotation in ("a", "b"):
        outs = update(outs, rotation)
        own, original = outs["public_key"].splitlines()
        assert original == first["public_key"]
        assert own == f"{public_key(outs['private_key'])} k3s-macvlan/dev"
        assert outs["private_key"] not in former
        former.add(outs["private_key"])


def test_a_run_that_does_not_request_another_pair_changes_nothing() -> None:
    provider = SshKeyPairProvider()
    assert provider.check({}, dict(COMMENT)).inputs == COMMENT
    assert provider.check(COMMENT, dict(COMMENT)).inputs == COMMENT
    rotated = {**COMMENT, "rotation": "a"}
    assert provider.check(rotated, dict(COMMENT)).inputs == rotated
    assert provider.check(rotated, {**COMMENT, "rotation": "b"}).inputs == {**COMMENT, "rotation": "b"}
