"""The guest agent's channel: on every machine, once, and the shutdown by who answers on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from provider.resource_inputs import domain_inputs
from provider.sandbox import Sandbox

from components.libvirt import domain_agent, domain_edit, domain_removal, domain_spec
from components.libvirt.domain_agent import ALIAS, CHANNEL

from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit

MADE = domain_spec.from_inputs(domain_inputs(Sandbox("qemu:///system")), virt_type="qemu")
FORMER = dataclasses.replace(MADE, devices=())
THEIRS = f"<channel type='unix'><target type='virtio' name='{CHANNEL}'/></channel>"


def by_hand(document: str) -> str:
    return document.replace("</devices>", f"{THEIRS}</devices>")


def test_a_new_machine_has_it() -> None:
    document = domain_spec.domain(MADE)
    assert document.count(CHANNEL) == 1 and f'<alias name="{ALIAS}" />' in document
    assert domain_edit.differences(document, MADE) == []


def test_one_that_runs_gets_it_without_a_restart() -> None:
    former = domain_spec.domain(FORMER)
    assert [str(change) for change in domain_edit.differences(former, MADE)] == [
        f"guest agent's channel: none, not virtio {CHANNEL}"
    ]
    assert domain_edit.restarts(former, former, MADE) == []
    assert domain_edit.edit(former, MADE).count(CHANNEL) == 1


def test_one_that_was_added_by_hand_is_used() -> None:
    """Two of one name: QEMU does not start ("A port already exists by name")."""
    former, theirs = domain_spec.domain(FORMER), by_hand(domain_spec.domain(FORMER))
    for documents in ((theirs, theirs), (theirs, None), (former, theirs)):
        spec = domain_edit.next_to_others(MADE, *documents)
        assert spec.devices == () and domain_edit.edit(documents[0], spec).count(CHANNEL) == documents[0].count(CHANNEL)
    assert domain_edit.next_to_others(MADE, former, None) == MADE
    assert domain_edit.next_to_others(MADE, domain_spec.domain(MADE), domain_spec.domain(MADE)) == MADE
    # Other channels count for nothing.
    assert domain_edit.next_to_others(MADE, theirs.replace(CHANNEL, "com.redhat.spice.0")) == MADE


def test_who_answers_is_seen_by_the_state_of_the_channel() -> None:
    document = domain_spec.domain(MADE)
    assert not domain_agent.answers(document) and not domain_agent.answers(domain_spec.domain(FORMER))
    live = document.replace(f'name="{CHANNEL}"', f'name="{CHANNEL}" state="{{}}"')
    assert domain_agent.answers(live.format("connected")) and not domain_agent.answers(live.format("disconnected"))
    other = live.format("connected").replace(CHANNEL, "com.redhat.spice.0")
    assert not domain_agent.answers(other)


# --- shutdown


class Guest:
    """A running domain that ends when that is requested in one of the ways `obeys`."""

    def __init__(self, *, obeys: str, agent: bool, refuses: str = "") -> None:
        self.obeys, self.agent, self.refuses = obeys, agent, refuses
        self.calls: list[str] = []
        self.active = True

    def name(self) -> str:
        return "node-1"

    def isActive(self) -> bool:  # noqa: N802 - libvirt's name
        return self.active

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        state = "connected" if self.agent else "disconnected"
        return domain_spec.domain(SPEC).replace(
            "</devices>", f"{THEIRS.replace('virtio', f'virtio{chr(39)} state={chr(39)}{state}')}</devices>"
        )

    def _requested(self, way: str) -> None:
        import libvirt  # noqa: PLC0415

        self.calls.append(way)
        if self.refuses == way:
            raise libvirt.libvirtError("Guest agent is not responding")
        self.active = self.active and way != self.obeys

    def shutdown(self) -> None:
        self._requested("any")

    def shutdownFlags(self, flags: int) -> None:  # noqa: N802
        self._requested({1: "acpi", 2: "agent"}[flags])

    def destroy(self) -> None:
        self._requested("off")
        self.active = False


@pytest.mark.parametrize(
    ("guest", "calls"),
    [
        ({"obeys": "agent", "agent": True}, ["agent"]),
        ({"obeys": "any", "agent": False}, ["any"]),
        ({"obeys": "acpi", "agent": True}, ["agent", "acpi"]),
        ({"obeys": "acpi", "agent": True, "refuses": "agent"}, ["agent", "acpi"]),
        ({"obeys": "off", "agent": True}, ["agent", "acpi", "off"]),
        ({"obeys": "off", "agent": False}, ["any", "off"]),
        ({"obeys": "off", "agent": False, "refuses": "any"}, ["any", "off"]),
    ],
)
def test_the_agent_first_then_acpi_then_the_switch(guest: dict[str, Any], calls: list[str]) -> None:
    pytest.importorskip("libvirt")
    there = Guest(**guest)
    domain_removal.stop(there, 0.6)
    assert there.calls == calls and not there.active


def test_without_a_limit_no_shutdown_is_requested() -> None:
    pytest.importorskip("libvirt")
    guest = Guest(obeys="agent", agent=True)
    domain_removal.stop(guest, 0)
    assert guest.calls == ["off"]
