"""The guest agent's channel on a real libvirtd: given to a machine that runs, added by hand, taken away by hand."""

from __future__ import annotations

from typing import Any

import pytest

from components.libvirt.domain_agent import ALIAS, CHANNEL

from .sandbox import Sandbox
from .test_by_hand import Machine

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

THEIRS = f"<channel type='unix'><target type='virtio' name='{CHANNEL}'/></channel>"

NAMED = f"name='{CHANNEL}'"
"""Not in the path of its socket."""


@pytest.fixture
def machine(sandbox: Sandbox, base: dict[str, Any]) -> Machine:
    return Machine(sandbox, base)


def without(document: str) -> str:
    """As a former release has defined it, with the serial controller that libvirt has added."""
    start = document.index("<channel")
    return document[:start] + document[document.index("</channel>") + len("</channel>") :]


def former(machine: Machine) -> None:
    machine.virsh("destroy", machine.name)
    machine.define(without)
    machine.virsh("start", machine.name)


def test_a_new_machine_has_it_once(machine: Machine) -> None:
    assert all(document.count(NAMED) == 1 and ALIAS in document for document in machine.observe()[1:])
    machine.refresh()
    assert (machine.state["definition"], machine.state["unmanaged"]) == ({}, [])
    machine.quiet()


def test_a_machine_of_a_former_release_gets_it_by_the_next_change_without_a_restart(machine: Machine) -> None:
    former(machine)
    number = machine.observe()[0]
    machine.refresh()
    assert machine.state["definition"] == {}, "nothing is reported that nobody has changed"
    machine.quiet()
    machine.change(autostart=False)
    assert machine.observe()[0] == number and CHANNEL in machine.observe()[1]
    machine.refresh()
    machine.quiet()


def test_the_setting_brings_it_and_its_loss_is_seen_then(machine: Machine) -> None:
    former(machine)
    number = machine.observe()[0]
    machine.change(guest_agent=True)
    assert machine.observe()[0] == number and CHANNEL in machine.observe()[1]
    machine.virsh("destroy", machine.name)
    machine.define(without)
    machine.virsh("start", machine.name)
    machine.refresh()
    assert list(machine.state["definition"]) == ["guest agent's channel"]
    machine.change()
    assert CHANNEL in machine.observe()[1]
    machine.refresh()
    machine.quiet()


def test_one_added_by_hand_is_kept_and_used(machine: Machine) -> None:
    machine.virsh("destroy", machine.name)
    machine.define(lambda document: without(document).replace("</devices>", f"{THEIRS}</devices>"))
    machine.virsh("start", machine.name)
    machine.refresh()
    assert (machine.state["definition"], machine.state["unmanaged"]) == ({}, [f"channel {CHANNEL}"])
    machine.quiet()
    machine.change(guest_agent=True)
    machine.change(memory_mib=96)
    assert all(document.count(NAMED) == 1 and ALIAS not in document for document in machine.observe()[1:])
    machine.refresh()
    machine.quiet()


def test_one_attached_by_hand_to_the_running_guest_alone_is_kept(machine: Machine, tmp_path: Any) -> None:
    former(machine)
    element = tmp_path / "channel.xml"
    element.write_text(THEIRS)
    machine.virsh("attach-device", machine.name, str(element), "--live")
    machine.change(autostart=False)
    assert CHANNEL not in machine.observe()[1], "two of one name would keep the machine from starting"
    machine.change(memory_mib=96)
    assert all(document.count(NAMED) == 1 and ALIAS not in document for document in machine.observe()[1:])
