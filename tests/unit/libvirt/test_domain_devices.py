"""Devices of a machine beyond those of every machine: found by their aliases, attached while the guest runs where libvirt can."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from components.libvirt import domain_additions, domain_devices, domain_edit, domain_hotplug, domain_spec, domain_xml, xml
from components.libvirt.domain_devices import PREFIX, Device

from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit


def channel(name: str, target: str = "org.example.a", *, deferred: bool = False) -> Device:
    element = f'<channel type="unix"><target type="virtio" name="{target}"/><alias name="{PREFIX}{name}"/></channel>'
    return Device(alias=f"{PREFIX}{name}", name=f"channel {name}", element=element, deferred=deferred)


PLAIN = domain_spec.domain(SPEC)
WITH = dataclasses.replace(SPEC, devices=(channel("a"), channel("b", "org.example.b")))
THEIRS = '<channel type="unix"><target type="virtio" name="theirs" /><alias name="ua-theirs" /></channel>'


def test_a_device_is_added_to_a_definition_and_taken_away_again() -> None:
    edited = domain_edit.edit(PLAIN, WITH)
    assert [str(change) for change in domain_edit.differences(PLAIN, WITH)] == [
        "channel a: none, not virtio org.example.a",
        "channel b: none, not virtio org.example.b",
    ]
    assert domain_edit.differences(edited, WITH) == []
    assert domain_edit.differences(domain_spec.domain(WITH), WITH) == []
    fewer = dataclasses.replace(SPEC, devices=WITH.devices[1:])
    assert [str(change) for change in domain_edit.differences(edited, fewer)] == ["channel a: virtio org.example.a, not none"]
    assert domain_edit.edit(domain_edit.edit(edited, fewer), SPEC) == domain_edit.edit(PLAIN, SPEC)


def test_what_others_attached_is_neither_ours_nor_lost() -> None:
    document = PLAIN.replace("</devices>", THEIRS + "</devices>")
    edited = domain_edit.edit(document, WITH)
    assert THEIRS in edited and THEIRS in domain_edit.edit(edited, SPEC)
    assert domain_additions.unmanaged(edited, WITH) == ["channel theirs"]
    # One of ours that the guest alone has is no addition of others.
    assert domain_additions.only_running(edited, document, SPEC) == []


def test_a_changed_device_keeps_its_place() -> None:
    address = '<address type="virtio-serial" controller="0" bus="0" port="3" />'
    document = domain_edit.edit(PLAIN, WITH).replace(f'<alias name="{PREFIX}a" />', f'<alias name="{PREFIX}a" />{address}')
    other = dataclasses.replace(SPEC, devices=(channel("a", "org.example.c"), WITH.devices[1]))
    edited = domain_edit.edit(document, other)
    assert address in edited and "org.example.c" in edited and "org.example.a" not in edited
    attachable = domain_devices.attachable(edited, f"{PREFIX}a")
    assert attachable is not None and "address" not in xml.text_of(attachable)


@pytest.mark.parametrize(("bus", "target"), [("virtio", "vdc"), ("scsi", "sdb")])
def test_a_disk_gets_a_free_name_and_keeps_it(bus: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_devices, "WORDS", {"disk": domain_xml.source})

    def disk(path: str) -> Device:
        element = f'<disk type="file"><source file="{path}"/><target bus="{bus}"/><alias name="{PREFIX}disk"/></disk>'
        return Device(alias=f"{PREFIX}disk", name="disk", element=element)

    document = domain_edit.edit(PLAIN, dataclasses.replace(SPEC, devices=(disk("/pool/a"),)))
    assert domain_xml.targets(document) == ["vda", "vdb", target]
    # Another disk's name is given up meanwhile.
    document = document.replace('dev="vdb"', 'dev="vdz"')
    document = domain_edit.edit(document, dataclasses.replace(SPEC, devices=(disk("/pool/b"),)))
    assert domain_xml.targets(document) == ["vda", "vdz", target]
    # One that is no longer wanted stays in the running guest until its own resource detaches it, after it was unmounted.
    assert [change.name for change in domain_edit.differences(document, SPEC)] == ["disk disk"]
    assert domain_edit.restarts(document, document, SPEC) == domain_edit.devices_to_change(document, SPEC) == []


def test_a_deferred_device_is_no_reason_to_restart_and_waits_where_nothing_may_change() -> None:
    spec = dataclasses.replace(SPEC, devices=(channel("a", deferred=True), channel("b")))
    assert [change.name for change in domain_edit.restarts(PLAIN, PLAIN, spec)] == ["channel b"]
    assert [change.name for change in domain_edit.devices_to_change(PLAIN, spec)] == ["channel a", "channel b"]
    assert domain_edit.without_deferred(PLAIN, spec).devices == spec.devices[1:]
    assert domain_edit.without_deferred(domain_edit.edit(PLAIN, spec), spec).devices == spec.devices


# --- a running guest


class Guest:
    """A running domain: what it has, what was called, and how it answers."""

    def __init__(self, document: str, *, releases: bool = True, attach: str = "", update: bool = False) -> None:
        self.document, self.releases, self.error, self.updates = document, releases, attach, update
        self.calls: list[str] = []

    def name(self) -> str:
        return "node-1"

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's name
        return self.document

    def attachDeviceFlags(self, element: str, _flags: int) -> None:  # noqa: N802
        self.calls.append("attach")
        if self.error:
            raise libvirt_error(self.error)
        self.document = self.document.replace("</devices>", element + "</devices>")

    def detachDeviceAlias(self, alias: str, _flags: int) -> None:  # noqa: N802
        self.calls.append("detach")
        if self.releases:
            root = domain_xml.parse(self.document)
            devices = domain_xml.devices(root)
            devices.remove(domain_devices.present(devices)[alias])
            self.document = xml.text_of(root)


def libvirt_error(text: str) -> Exception:
    import libvirt  # noqa: PLC0415

    error: Exception = libvirt.libvirtError(text)
    return error


def apply(guest: Guest, spec: domain_spec.DomainSpec) -> list[str]:
    pytest.importorskip("libvirt")
    changes = domain_edit.devices_to_change(guest.document, spec)
    stored = domain_edit.edit(guest.document, spec)
    return [change.name for change in domain_hotplug.apply(guest, changes, stored, 0)]


def test_a_running_guest_gets_and_loses_devices() -> None:
    guest = Guest(PLAIN)
    assert apply(guest, WITH) == [] and guest.calls == ["attach", "attach"]
    assert domain_edit.devices_to_change(guest.document, WITH) == []
    assert apply(guest, dataclasses.replace(SPEC, devices=(channel("a", "org.example.c"),))) == []
    assert guest.calls[2:] == ["detach", "attach", "detach"]
    assert domain_edit.devices_to_change(guest.document, SPEC) != [] and "org.example.c" in guest.document


def test_a_guest_that_does_not_release_a_device_is_restarted() -> None:
    guest = Guest(domain_spec.domain(WITH), releases=False)
    assert apply(guest, SPEC) == ["channel a", "channel b"]


@pytest.mark.parametrize(
    "text",
    [
        "internal error: No more available PCI slots",
        "device hotplug is not possible",
        "vfio 0000:01:00.0: group 1 is not viable",
        "error opening /dev/vfio/1: Device or resource busy",
    ],
)
def test_what_cannot_be_attached_to_a_running_guest_needs_a_restart(text: str) -> None:
    assert apply(Guest(PLAIN, attach=text), WITH) == ["channel a", "channel b"]


def test_what_a_restart_would_not_mend_is_an_error_and_restarts_nothing() -> None:
    with pytest.raises(Exception, match="Network not found"):
        apply(Guest(PLAIN, attach="Network not found: no network with matching name 'lan'"), WITH)


def test_a_deferred_device_that_cannot_be_attached_is_named_for_the_next_start() -> None:
    guest = Guest(PLAIN, attach="whatever")
    changes: list[Any] = domain_edit.devices_to_change(
        PLAIN, spec := dataclasses.replace(SPEC, devices=(channel("a", deferred=True),))
    )
    pytest.importorskip("libvirt")
    (left,) = domain_hotplug.apply(guest, changes, domain_edit.edit(PLAIN, spec), 0)
    assert left.deferred
