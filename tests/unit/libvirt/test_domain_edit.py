"""A definition that hands have changed: what is managed is set, nothing else is touched, and each difference has words."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider import additions
from provider.resource_inputs import domain_inputs
from provider.sandbox import Sandbox
from pulumi.output import UNKNOWN

from components.custom import reporting
from components.libvirt import domain_additions, domain_edit, domain_spec, domain_xml, xml
from components.libvirt.domain import DomainProvider
from components.libvirt.domain_spec import DomainSpec

from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit

PLAIN = domain_spec.domain(SPEC)
EVERY = [*additions.DEVICES, *additions.TOP, *additions.INSIDE]
MORE = {
    "TPM": "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>",
    "PCI card": "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x05' slot='0x00' "
    "function='0x0'/></source></hostdev>",
    "shared directory": "<filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>",
}


def changed(**change: Any) -> DomainSpec:
    return dataclasses.replace(SPEC, **change)


def add(document: str, text: str, place: str = "devices") -> str:
    root = domain_xml.parse(document)
    target = root.find(place)
    assert target is not None
    target.extend(domain_xml.parse(f"<all>{text}</all>"))
    return xml.text_of(root)


CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "memory_mib": st.integers(64, 1 << 20),
    "cpus": st.integers(1, 64),
    "extra_disks": st.lists(st.sampled_from([f"/pool/artifacts-{letter}.img" for letter in "abc"]), unique=True).map(tuple),
    "disk_cache": st.sampled_from(["none", "unsafe", "writeback"]),
    "cpu_mode": st.sampled_from(["host-model", "host-passthrough", "maximum"]),
    "virt_type": st.sampled_from(["kvm", "qemu"]),
    "console_log": st.sampled_from(["/pool/node-1.log", "/pool/other.log"]),
    "network": st.sampled_from(["default", "lan"]),
    "owner": st.sampled_from(["k3s/dev", "renamed/dev"]),
    "machine": st.sampled_from(["q35", "pc-q35-7.1"]),
}


@given(st.sets(st.sampled_from([*EVERY, *MORE])), st.lists(st.fixed_dictionaries({}, optional=CHANGES), min_size=1, max_size=4))
def test_whatever_hands_add_stays_whatever_changes(names: set[str], changes: list[dict[str, Any]]) -> None:
    document = additions.plant(PLAIN, sorted(names & set(EVERY)), Path("/srv"))
    for name in names & set(MORE):
        document = add(document, MORE[name])
    planted = additions.parts(document) - additions.parts(PLAIN)
    # Of the NIC and the disk the program sets a part, hands another.
    shared = {"MTU of the node's NIC": "<mtu size=", "name of the node's disk": "<serial>root-of-ann"}
    for name, text in shared.items():
        planted -= type(planted)({part: 1 for part in planted if text.split("=")[0] in part and name in names})
    former: set[str] = set()
    for change in changes:
        spec = changed(**change)
        document = domain_edit.edit(document, spec, former)
        former |= set(spec.extra_disks)
        assert not planted - additions.parts(document)
        assert all(text.partition(">")[0] in document for name, text in shared.items() if name in names)
        assert domain_edit.differences(document, spec, former) == []
        assert domain_edit.edit(document, spec, former) == document
        assert not domain_edit.mark_differs(document, spec)
        facts = domain_spec.read_domain(document)
        assert (facts.memory_mib, facts.cpus, facts.owner) == (spec.memory_mib, spec.cpus, spec.owner)
        assert set(spec.extra_disks) == {path for path in facts.disks if "artifacts" in path}
    assert bool(domain_additions.unmanaged(document, SPEC, former)) == bool(names - set(additions.INSIDE) | names & {
        "metadata", "feature", "boot menu"})  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [("memory_mib", 2048, "memory"), ("cpus", 4, "CPUs"), ("mac", "52:54:00:ab:00:02", "network interface"),
     ("disk_cache", "unsafe", "root disk"), ("virt_type", "kvm", "virtualization type"), ("cpu_mode", "host-model", "CPU mode"),
     ("extra_disks", ("/pool/x.iso",), "extra disk 1"), ("seed_path", "/pool/y.iso", "seed disk"),
     ("console_log", "/x.log", "console log"), ("machine", "pc-q35-6.0", "machine type"), ("network", "lan", "network interface")],
)  # fmt: skip
def test_each_change_is_one_difference_and_a_reason_to_restart(field: str, value: Any, name: str) -> None:
    spec = changed(**{field: value})
    assert [difference.name for difference in domain_edit.differences(PLAIN, spec)] == [name]
    assert [difference.name for difference in domain_edit.restarts(PLAIN, PLAIN, spec)] == [name]
    assert domain_edit.restarts(domain_edit.edit(PLAIN, spec), PLAIN, spec) == []
    assert domain_edit.wanted(spec)[name] == domain_edit.differences(PLAIN, spec)[0].wanted


def test_another_owner_is_no_reason_to_restart() -> None:
    spec = changed(owner="renamed/dev", node="n", disk_id="s2")
    assert domain_edit.mark_differs(PLAIN, spec)
    assert domain_edit.differences(PLAIN, spec) == domain_edit.restarts(PLAIN, PLAIN, spec) == []


def test_what_hands_changed_is_named_and_set_back() -> None:
    document = (
        PLAIN.replace("52:54:00:ab:00:01", "52:54:00:00:00:99")
        .replace("/pool/node-1-seed.iso", "/pool/other.iso")
        .replace('<currentMemory unit="MiB">4096', '<currentMemory unit="MiB">1024')
        .replace('cache="none"', 'cache="unsafe"')
    )
    assert [str(difference) for difference in domain_edit.differences(document, SPEC)] == [
        "memory balloon: leaves 1024 of 4096 MiB, not empty",
        "root disk: qcow2, cache unsafe, not qcow2, cache none",
        "seed disk: /pool/other.iso, raw, read-only, not /pool/node-1-seed.iso, raw, read-only",
        "network interface: 52:54:00:00:00:99 on network default, not 52:54:00:ab:00:01 on network default",
    ]
    root = domain_xml.parse(domain_edit.edit(document, SPEC))
    assert len(domain_xml.disks(root)) == 2
    assert len(root.findall("devices/interface")) == 1


def test_what_hands_took_away_comes_back() -> None:
    document = re.sub(r"<(interface|serial|console|disk)\b.*?</\1>", "", PLAIN)
    edited = domain_edit.edit(document, changed(extra_disks=("/pool/a.img",)))
    assert domain_edit.differences(edited, changed(extra_disks=("/pool/a.img",))) == []
    assert [element.get("dev") for element in domain_xml.parse(edited).findall("devices/disk/target")] == ["vda", "vdb", "vdc"]


def test_a_disk_of_hands_in_place_of_the_seed_is_not_taken_for_it() -> None:
    theirs = '<disk type="file" device="disk"><source file="/srv/data.img" /><target dev="vdb" bus="virtio" /></disk>'
    document = add(re.sub(r"<disk (?:(?!</disk>).)*seed.iso.*?</disk>", "", PLAIN), theirs)
    edited = domain_edit.edit(document, SPEC)
    assert theirs in edited
    assert domain_spec.read_domain(edited).disks == ("/pool/node-1.qcow2", "/srv/data.img", "/pool/node-1-seed.iso")


def test_the_nic_keeps_what_hands_gave_it() -> None:
    kept = '<vlan><tag id="42" /></vlan><virtualport type="openvswitch" /><filterref filter="clean" />'
    document = PLAIN.replace('<model type="virtio" /><address', kept + '<model type="e1000e" /><address')
    edited = domain_edit.edit(document, changed(memory_mib=1))
    assert kept in edited
    assert '"e1000e"' in edited


def test_a_snapshot_is_no_difference_and_stays_the_disk() -> None:
    below = '<backingStore type="file"><format type="qcow2" /><source file="/pool/node-1.qcow2" /></backingStore>'
    document = PLAIN.replace('<source file="/pool/node-1.qcow2" />', f'<source file="/pool/node-1.before" />{below}')
    assert domain_edit.differences(document, SPEC) == []
    assert domain_xml.root_disk(document, SPEC.disk_path) == domain_xml.RootDisk("/pool/node-1.before", "vda", True)
    edited = domain_edit.edit(document, changed(memory_mib=1, disk_cache="unsafe"))
    assert "/pool/node-1.before" in edited
    assert below in edited


def test_memory_devices_are_memory_of_hands() -> None:
    dimm = '<memory model="dimm"><target><size unit="MiB">512</size><node>0</node></target></memory>'
    document = add(PLAIN.replace('"MiB">4096', '"MiB">4608'), dimm)
    assert domain_edit.differences(document, SPEC) == []
    assert domain_xml.memory_mib(document) == 4096
    edited = domain_edit.edit(document, changed(memory_mib=8192))
    assert '<memory unit="KiB">8912896' in edited
    assert dimm in edited


def test_a_running_guest_has_the_cpu_that_its_mark_says() -> None:
    """libvirt writes the model that it found in place of host-model."""
    spec = changed(cpu_mode="host-model")
    stored = domain_spec.domain(spec)
    live = stored.replace('<cpu mode="host-model" />', '<cpu mode="custom" match="exact"><model>Skylake</model></cpu>')
    assert domain_edit.restarts(live, stored, spec) == []
    assert [difference.actual for difference in domain_edit.restarts(live, stored, SPEC)] == ["host-model"]
    of_before = live.replace(' cpu="host-model"', "")
    assert of_before != live
    assert domain_edit.restarts(of_before, stored, spec) == []
    assert [difference.actual for difference in domain_edit.restarts(of_before, stored, SPEC)] == ["host-model"]


def test_a_running_guest_that_was_given_less_memory_is_seen_and_not_restarted() -> None:
    live = PLAIN.replace('<currentMemory unit="MiB">4096', '<currentMemory unit="KiB">2097152')
    assert domain_edit.restarts(live, PLAIN, SPEC) == []
    assert [str(difference) for difference in domain_edit.running(live, PLAIN, SPEC)] == [
        "memory balloon: leaves 2048 of 4096 MiB, not empty"
    ]
    assert domain_edit.balloon(live) == 2048
    rounded = PLAIN.replace('<currentMemory unit="MiB">4096', '<currentMemory unit="KiB">4194300')
    assert domain_edit.running(rounded, PLAIN, SPEC) == []


def test_devices_of_the_running_guest_alone_are_distinguished_from_the_others() -> None:
    live = add(
        PLAIN,
        '<interface type="network"><mac address="52:54:00:00:00:02"/><source network="lan" portid="x" bridge="virbr7"/>'
        '<target dev="vnet3"/><model type="virtio"/><alias name="net1"/><address type="pci" bus="0x07"/></interface>'
        '<hostdev mode="subsystem" type="usb"><source><vendor id="0x1"/><product id="0x2"/><address bus="3" device="4"/></source>'
        '<alias name="hostdev0"/></hostdev>'
        '<disk type="file"><source file="/a.img" index="5"/><backingStore/><target dev="sda" bus="usb"/><alias name="ua-mine"/>'
        "</disk>"
        '<input type="tablet" bus="usb"><alias name="input3"/></input>'
        '<input type="tablet" bus="usb"><alias name="input4"/></input>',
    )
    stored = add(PLAIN, '<input type="tablet" bus="usb"/>')
    devices = domain_additions.only_running(live, stored, SPEC)
    assert [device.words for device in devices] == [
        "network interface 52:54:00:00:00:02 on network lan", "host device usb 0x1:0x2", "disk sda (/a.img)", "input tablet usb",
    ]  # fmt: skip
    assert [device.document for device in devices] == [
        '<interface type="network"><mac address="52:54:00:00:00:02" /><source network="lan" /><model type="virtio" /></interface>',
        '<hostdev mode="subsystem" type="usb"><source><vendor id="0x1" /><product id="0x2" /></source></hostdev>',
        '<disk type="file"><source file="/a.img" /><target dev="sda" bus="usb" /><alias name="ua-mine" /></disk>',
        '<input type="tablet" bus="usb" />',
    ]
    edited = domain_edit.edit(stored, SPEC, keep=[device.document for device in devices])
    assert domain_additions.only_running(live, edited, SPEC) == []


def test_no_secret_is_among_the_words() -> None:
    document = additions.plant(PLAIN, EVERY, Path("/srv"))
    assert "s3cret" in document
    words = domain_additions.unmanaged(document, SPEC)
    assert len(words) >= len(additions.DEVICES) + len(additions.TOP)
    assert "s3cret" not in str(words)
    assert "disable_s3" not in str(words)
    assert "s3cret" in domain_edit.edit(document, changed(memory_mib=1))


# --- as the engine calls it


WORLD = Sandbox("qemu:///system")


def state(**change: Any) -> dict[str, Any]:
    return {**domain_inputs(WORLD), **change}


def test_a_preview_says_what_hands_changed_and_what_it_will_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reporting._Speech, "allowed", True)
    monkeypatch.setattr(reporting._Speech, "remarks", set())
    inputs = state(disk_cache="none")
    olds = {**inputs, "definition": {"root disk": "qcow2, cache unsafe", "running guest: CPU mode": "host-model"}}
    news = DomainProvider().check(olds, dict(inputs)).inputs
    assert news["definition"] == {"root disk": "qcow2, cache none", "running guest: CPU mode": "maximum"}
    assert DomainProvider().diff("id", olds, news).changes
    assert DomainProvider().diff("id", olds, news).changes
    output = capsys.readouterr().out
    assert output.count("root disk was changed by hand: qcow2, cache unsafe, instead of qcow2, cache none") == 1
    # After the update, and after a refresh that finds nothing.
    definitions: list[dict[str, str]] = [news["definition"], {}]
    for definition in definitions:
        after = {**inputs, "definition": definition}
        news = DomainProvider().check(after, dict(inputs)).inputs
        assert not DomainProvider().diff("id", {**after, "definition": {}}, news).changes


def test_what_hands_added_is_no_change_and_is_shown_as_lost_by_a_rebuild(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reporting._Speech, "allowed", True)
    monkeypatch.setattr(reporting._Speech, "remarks", set())
    inputs = state()
    olds = {**inputs, "unmanaged": ["disk vdc (/srv/data.img)"], "obstacles": ["a block job"]}
    news = DomainProvider().check(olds, dict(inputs)).inputs
    assert news["unmanaged"] == olds["unmanaged"]
    assert not DomainProvider().diff("id", olds, news).changes
    assert capsys.readouterr().out == ""
    assert DomainProvider().diff("id", olds, {**news, "autostart": False}).changes
    assert capsys.readouterr().out == ""
    assert not DomainProvider().diff("id", olds, {**news, "memory_mib": 96}).replaces
    assert "this change is refused while this lasts: a block job" in capsys.readouterr().out
    replaced = DomainProvider().diff("id", olds, {**news, "disk_serial": UNKNOWN})
    assert replaced.replaces == ["disk_serial"]
    assert "is recreated, and what is unmanaged in it is lost: disk vdc (/srv/data.img)" in capsys.readouterr().out
    # The engine checks again without old inputs, and shows the difference of the two.
    assert DomainProvider().check({}, {**inputs, "unmanaged": []}).inputs["unmanaged"] == []


@pytest.mark.parametrize("old", ["as made", "changed by hand: MAC", None, []])
def test_a_state_of_the_version_before_is_read(old: Any) -> None:
    olds = {**state(), "definition": old}
    del olds["unmanaged"]
    news = DomainProvider().check(olds, state()).inputs
    assert not DomainProvider().diff("id", olds, news).changes
