"""The filter over a preview's JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from deleted_with import DATA_DISK, DOMAIN, TOKEN, main, problems

pytestmark = pytest.mark.unit

MACHINE = {"op": "same", "urn": "urn::vm", "newState": {"type": DOMAIN}}


def step(kind: str, deleted_with: str | None = None, op: str = "create") -> dict[str, Any]:
    state = {"type": kind} | ({"deletedWith": deleted_with} if deleted_with else {})
    return {"op": op, "urn": f"urn::{kind}", "newState": state}


@pytest.mark.parametrize("kind", ["command:remote:Command", "command:remote:CopyToRemote", "kubernetes:core/v1:Pod"])
def test_what_lives_in_a_machine(kind: str) -> None:
    assert not list(problems({"steps": [MACHINE, step(kind, "urn::vm")]}))
    [message] = problems({"steps": [MACHINE, step(kind)]})
    assert message == f"urn::{kind} lives in a machine and has no deletedWith"
    [message] = problems({"steps": [MACHINE, step("command:local:Command"), step(kind, "urn::command:local:Command")]})
    assert "no libvirt domain" in message
    [message] = problems({"steps": [step(kind, "urn::vm")]})
    assert "no libvirt domain" in message


@pytest.mark.parametrize("kind", [TOKEN, DATA_DISK])
def test_what_lives_in_a_cluster_that_outlives_a_machine(kind: str) -> None:
    """One of several servers, or of one whose data are on a disk of their own."""
    holder = {"op": "same", "urn": "urn::holder", "newState": {"type": kind}}
    assert not list(problems({"steps": [holder, step("kubernetes:core/v1:Secret", "urn::holder")]}))


def test_what_does_not() -> None:
    outside = [step(kind) for kind in ("command:local:Command", "pulumi:providers:kubernetes", DOMAIN)]
    assert not list(problems({"steps": [MACHINE, step("command:remote:Command", "urn::vm"), *outside]}))


def test_what_is_deleted_does_not_count() -> None:
    deleted = {"op": "delete", "urn": "urn::old", "oldState": {"type": "command:remote:Command"}}
    assert not list(problems({"steps": [MACHINE, step("command:remote:Command", "urn::vm"), deleted]}))


def test_an_empty_preview_is_no_proof() -> None:
    previews: tuple[dict[str, Any], ...] = ({}, {"steps": []}, {"steps": [MACHINE]})
    for preview in previews:
        [message] = problems(preview)
        assert "--show-sames" in message


def test_the_filter() -> None:
    out = io.StringIO()
    assert main(io.StringIO(json.dumps({"steps": [MACHINE, step("command:remote:Command", "urn::vm")]})), out) == 0
    assert out.getvalue() == ""
    assert main(io.StringIO(json.dumps({"steps": [MACHINE, step("command:remote:Command")]})), out) == 1
    assert "has no deletedWith" in out.getvalue()
