"""A domain's definition: what it says, and that text stays data in it."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.libvirt import domain_spec, network_xml, storage_xml
from components.libvirt.domain_spec import DomainSpec
from components.libvirt.network_xml import Host

pytestmark = pytest.mark.unit

SPEC = DomainSpec(
    name="node-1",
    uuid="b04238c3-4574-5479-b0b7-39b9d3281f8b",
    owner="k3s/dev",
    node="node-1",
    disk_id="s1",
    memory_mib=4096,
    cpus=2,
    mac="52:54:00:AB:00:01",
    network="default",
    bridge=None,
    disk_path="/pool/node-1.qcow2",
    seed_path="/pool/node-1-seed.iso",
    console_log="/pool/node-1.log",
    virt_type="qemu",
    cpu_mode="maximum",
)


NASTY = [
    "\"'><disk type='file'/>",
    "]]><!--",
    "&amp;&lt;<!ENTITY x 'y'>",
    "a\nb: c\n- d",
    "{{ evil }} ${HOME} $(reboot) `reboot`",
    "ünïcode-名前",
    "../../etc/passwd",
    "x" * 5000,
]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


def changed(field: str, value: Any) -> DomainSpec:
    return dataclasses.replace(SPEC, **{field: value})


def shape(document: str) -> list[tuple[str, tuple[str, ...]]]:
    """The tags and attribute names of a document: its structure without its data."""
    return [(element.tag, tuple(sorted(element.attrib))) for element in ET.fromstring(document).iter()]


def test_domain_says_what_was_requested() -> None:
    facts = domain_spec.read_domain(domain_spec.domain(SPEC))
    assert (facts.name, facts.uuid, facts.owner, facts.node, facts.disk_id) == (
        "node-1",
        SPEC.uuid,
        "k3s/dev",
        "node-1",
        "s1",
    )
    assert (facts.memory_mib, facts.cpus, facts.virt_type) == (4096, 2, "qemu")
    assert facts.macs == ("52:54:00:ab:00:01",)
    assert facts.networks == ("default",)
    assert facts.bridges == ()
    assert facts.disks == ("/pool/node-1.qcow2", "/pool/node-1-seed.iso")
    assert facts.console_log == "/pool/node-1.log"


def test_nic_is_enp1s0_however_many_disks_there_are() -> None:
    for extra in ((), ("/pool/a.iso",), ("/pool/a.iso", "/pool/b.iso")):
        root = ET.fromstring(domain_spec.domain(dataclasses.replace(SPEC, extra_disks=extra)))
        address = root.find("devices/interface/address")
        assert address is not None
        assert (address.get("bus"), address.get("slot")) == ("0x01", "0x00")
        targets = [element.get("dev") for element in root.findall("devices/disk/target")]
        assert targets == ["vda", "vdb", "vdc", "vdd"][: 2 + len(extra)]
        assert [element.find("readonly") is not None for element in root.findall("devices/disk")] == [False] + [True] * (
            1 + len(extra)
        )
        assert all(element.get("type") == "file" for element in root.findall("devices/disk"))
        assert {element.get("bus") for element in root.findall("devices/disk/target")} == {"virtio"}


def test_domain_on_a_bridge_and_on_both_or_neither() -> None:
    on_bridge = dataclasses.replace(SPEC, network=None, bridge="br0")
    facts = domain_spec.read_domain(domain_spec.domain(on_bridge))
    assert (facts.networks, facts.bridges) == ((), ("br0",))
    for wrong in (dataclasses.replace(SPEC, bridge="br0"), dataclasses.replace(SPEC, network=None)):
        with pytest.raises(ValueError, match="exactly one"):
            domain_spec.domain(wrong)


def test_custom_cpu_names_its_model() -> None:
    root = ET.fromstring(domain_spec.domain(dataclasses.replace(SPEC, cpu_mode="custom", cpu_model="Nehalem")))
    assert root.findtext("cpu/model") == "Nehalem"


def test_unmanaged_domain_has_no_owner() -> None:
    facts = domain_spec.read_domain(
        "<domain type='kvm'><name>x</name><memory unit='GiB'>2</memory><vcpu current='1'>4</vcpu></domain>"
    )
    assert (facts.owner, facts.memory_mib, facts.cpus) == ("", 2048, 1)


@pytest.mark.parametrize("nasty", NASTY)
def test_text_stays_data_in_domain_xml(nasty: str) -> None:
    for field in ("name", "owner", "node", "disk_id", "network", "disk_path", "seed_path", "console_log", "disk_cache"):
        document = domain_spec.domain(changed(field, nasty))
        assert shape(document) == shape(domain_spec.domain(SPEC)), field
    facts = domain_spec.read_domain(domain_spec.domain(dataclasses.replace(SPEC, owner=nasty, disk_path=nasty)))
    # XML itself turns a line break in an attribute into a reference and back.
    assert (facts.owner, facts.disks[0]) == (nasty, nasty)


@given(TEXT)
def test_any_text_stays_data_in_every_xml(text: str) -> None:
    assert shape(storage_xml.pool(text, text, text)) == shape(storage_xml.pool("a", "b", "c"))
    assert storage_xml.read_pool(storage_xml.pool(text, "u", text)) == storage_xml.PoolFacts(text, "u", text)
    plain = storage_xml.volume("a", 1, format="qcow2", backing_path="b")
    assert shape(storage_xml.volume(text, 1, format="qcow2", backing_path=text)) == shape(plain)
    assert shape(network_xml.dhcp_host(Host("52:54:00:00:00:01", text, text))) == shape(network_xml.dhcp_host(Host("m", "i", "n")))
    assert shape(domain_spec.domain(dataclasses.replace(SPEC, name=text))) == shape(domain_spec.domain(SPEC))


def test_control_characters_are_refused() -> None:
    for bad in ("a\x00b", "a\x1bb", "\ufffe"):
        with pytest.raises(ValueError, match="control character"):
            storage_xml.pool(bad, "u", "/p")


def test_capabilities_offer_kvm_or_not() -> None:
    guest = "<guest><os_type>hvm</os_type><arch name='{}'><domain type='qemu'/>{}</arch></guest>"
    kvm = "<domain type='kvm'/>"
    assert domain_spec.supports_kvm(f"<capabilities>{guest.format('x86_64', kvm)}</capabilities>")
    assert not domain_spec.supports_kvm(f"<capabilities>{guest.format('x86_64', '')}</capabilities>")
    assert not domain_spec.supports_kvm(f"<capabilities>{guest.format('i686', kvm)}</capabilities>")
