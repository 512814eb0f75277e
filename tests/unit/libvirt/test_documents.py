"""XML and YAML: whatever goes in is data."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pulumi.output import UNKNOWN

from components.custom.provider import differs, same_host
from components.libvirt import domain_spec, network_xml, storage_xml
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.dhcp_range import parse_all
from components.libvirt.domain import DomainProvider
from components.libvirt.domain_spec import DomainSpec
from components.libvirt.network_xml import Host
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import seed_iso
from components.node import cloud_init
from components.node.cloud_init import StaticAddress

pytestmark = pytest.mark.unit

SPEC = DomainSpec(
    name="node-1",
    uuid="b04238c3-4574-5479-b0b7-39b9d3281f8b",
    owner="k3s/dev",
    node="node-1",
    serial="s1",
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
    return [(each.tag, tuple(sorted(each.attrib))) for each in ET.fromstring(document).iter()]


# --- domain


def test_domain_says_what_was_asked() -> None:
    facts = domain_spec.read_domain(domain_spec.domain(SPEC))
    assert (facts.name, facts.uuid, facts.owner, facts.node, facts.serial) == (
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
        targets = [each.get("dev") for each in root.findall("devices/disk/target")]
        assert targets == ["vda", "vdb", "vdc", "vdd"][: 2 + len(extra)]
        assert [each.find("readonly") is not None for each in root.findall("devices/disk")] == [False] + [True] * (1 + len(extra))
        assert all(each.get("type") == "file" for each in root.findall("devices/disk"))
        assert {each.get("bus") for each in root.findall("devices/disk/target")} == {"virtio"}


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


def test_foreign_domain_has_no_owner() -> None:
    facts = domain_spec.read_domain(
        "<domain type='kvm'><name>x</name><memory unit='GiB'>2</memory><vcpu current='1'>4</vcpu></domain>"
    )
    assert (facts.owner, facts.memory_mib, facts.cpus) == ("", 2048, 1)


@pytest.mark.parametrize("nasty", NASTY)
def test_text_stays_data_in_domain_xml(nasty: str) -> None:
    for field in ("name", "owner", "node", "serial", "network", "disk_path", "seed_path", "console_log", "disk_cache"):
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


# --- volumes and network


def test_qcow2_header() -> None:
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(12) + (16).to_bytes(4, "big") + (1 << 30).to_bytes(8, "big")
    facts = storage_xml.qcow2_header(head.ljust(104, b"\0"))
    assert facts is not None
    assert (facts.virtual_size, facts.has_backing, facts.has_data_file) == (1 << 30, False, False)
    assert storage_xml.qcow2_header(b"QFI") is None
    assert storage_xml.qcow2_header(b"\0" * 512) is None
    backed = storage_xml.qcow2_header(head[:8] + (512).to_bytes(8, "big") + head[16:])
    assert backed is not None
    assert backed.has_backing


def test_network_xml_is_read() -> None:
    facts = network_xml.read_network(
        """<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
        <ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>
        <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>
          <range start='192.168.122.2' end='192.168.122.20'/>
          <range start='192.168.122.30' end='192.168.122.40'><lease expiry='2' unit='hours'/></range>
          <host mac='52:54:00:AA:00:01' name='n' ip='192.168.122.21'/></dhcp></ip></network>"""
    )
    assert (facts.bridge, facts.ip, facts.netmask, facts.forward) == ("virbr0", "192.168.122.1", "255.255.255.0", "nat")
    assert [*map(str, facts.ranges)] == ["192.168.122.2-192.168.122.20", "192.168.122.30-192.168.122.40@2/hours"]
    assert facts.hosts == (Host("52:54:00:aa:00:01", "192.168.122.21", "n"),)
    assert parse_all(map(str, facts.ranges)) == list(facts.ranges)
    bare = network_xml.read_network("<network><name>x</name></network>")
    assert (bare.ip, bare.ranges, bare.hosts) == ("", (), ())


# --- cloud-init

KEYS: dict[str, Any] = {
    "hostname": "node-1",
    "user": "ubuntu",
    "authorized_keys": ["ssh-ed25519 AAAA me\n"],
    "host_private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
    "host_public_key": "ssh-ed25519 BBBB",
}


def test_commands_of_every_boot_come_before_the_user_s_own() -> None:
    text = cloud_init.user_data(**KEYS, at_boot=[["sh", "-c", "ours"]], extra={"bootcmd": ["theirs"], "packages": ["x"]})
    data = yaml.safe_load(text)
    assert (data["bootcmd"], data["packages"]) == ([["sh", "-c", "ours"], "theirs"], ["x"])
    assert yaml.safe_load(cloud_init.user_data(**KEYS, extra={"bootcmd": ["theirs"]}))["bootcmd"] == ["theirs"]
    assert "bootcmd" not in yaml.safe_load(cloud_init.user_data(**KEYS))
    with pytest.raises(ValueError, match="'bootcmd' is no list"):
        cloud_init.user_data(**KEYS, at_boot=[["ours"]], extra={"bootcmd": "theirs"})


def test_user_data() -> None:
    text = cloud_init.user_data(**KEYS, extra={"packages": ["qemu-guest-agent"]})
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    assert data["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA me"]
    assert data["ssh_keys"]["ed25519_private"] == KEYS["host_private_key"]
    assert data["ssh_pwauth"] is False
    assert data["packages"] == ["qemu-guest-agent"]


@pytest.mark.parametrize("key", ["users", "ssh_keys", "hostname", "manage_etc_hosts"])
def test_extra_may_not_override(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        cloud_init.user_data(**KEYS, extra={key: []})


@given(TEXT)
def test_any_text_stays_data_in_cloud_init(text: str) -> None:
    data = yaml.safe_load(cloud_init.user_data(**{**KEYS, "hostname": text, "user": text}, extra={"x": {text: text}}))
    assert (data["hostname"], data["users"][0]["name"], data["x"]) == (text, text, {text: text})
    assert yaml.safe_load(cloud_init.meta_data(instance_id=text, hostname=text))["instance-id"] == text


def test_network_config() -> None:
    nic = yaml.safe_load(cloud_init.network_config(mac="52:54:00:AB:00:01"))["ethernets"]["enp1s0"]
    assert nic["match"] == {"macaddress": "52:54:00:ab:00:01"}
    assert (nic["set-name"], nic["dhcp4"], nic["dhcp-identifier"]) == ("enp1s0", True, "mac")
    static = StaticAddress("192.168.1.20/24", "192.168.1.1", ["192.168.1.1"])
    nic = yaml.safe_load(cloud_init.network_config(mac="52:54:00:ab:00:01", static=static))["ethernets"]["enp1s0"]
    assert nic["addresses"] == ["192.168.1.20/24"]
    assert nic["routes"] == [{"to": "0.0.0.0/0", "via": "192.168.1.1"}]
    assert nic["nameservers"] == {"addresses": ["192.168.1.1"]}


def test_seed_is_the_same_for_the_same_documents() -> None:
    assert seed_iso("a", "b", "c") == seed_iso("a", "b", "c")
    assert seed_iso("a", "b", "c") != seed_iso("a", "b", "d")
    assert b"cidata" in seed_iso("a", "b", "c")


# --- connections


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("qemu+ssh://h/system", "qemu+ssh://root@h/system?keyfile=/k", True),
        ("qemu+ssh://H/system", "qemu+tls://h/system", True),
        ("qemu:///system", "qemu+unix:///system", True),
        ("qemu:///system", "qemu+unix:///system?socket=/run/other", False),
        ("qemu:///system", "qemu+ssh://h/system", False),
        ("qemu+ssh://h/system", "qemu+ssh://h:2222/system", False),
        ("qemu+ssh://h/system", "qemu+ssh://i/system", False),
        ("qemu+ssh://a@h/session", "qemu+ssh://b@h/session", False),
        ("qemu+ssh://h/system", "test+ssh://h/system", False),
        ("qemu:///system", UNKNOWN, False),
    ],
)
def test_another_way_to_the_same_host_is_an_update(old: object, new: object, same: bool) -> None:
    assert same_host(old, new) == same
    change = DomainProvider().diff("id", {"uri": old, "name": "n"}, {"uri": new, "name": "n"})
    assert (change.changes, change.replaces) == (True, [] if same else ["uri"])


# --- check and diff


def test_unknown_is_a_change() -> None:
    assert differs("a", UNKNOWN)
    assert differs(["a"], ["a", UNKNOWN])
    assert differs({"a": 1}, {"a": UNKNOWN})
    assert not differs(None, None)


OVERLAY: dict[str, Any] = {
    "uri": "u", "pool": "p", "name": "n", "path": "/p/n", "backing_path": "/p/b", "backing_format": "qcow2",
    "capacity": 10.0, "generation": "1", "domain_uuid": "d",
}  # fmt: skip


def test_overlay_keeps_its_serial_and_a_new_one_gets_another() -> None:
    provider = OverlayDiskProvider()
    first = provider.check({}, dict(OVERLAY)).inputs
    assert first["capacity"] == 10
    assert provider.check(first, dict(OVERLAY)).inputs["serial"] == first["serial"]
    assert provider.check({}, dict(OVERLAY)).inputs["serial"] != first["serial"]
    assert not provider.diff("id", first, provider.check(first, dict(OVERLAY)).inputs).changes


def test_overlay_grows_and_does_not_shrink() -> None:
    provider = OverlayDiskProvider()
    old = provider.check({}, dict(OVERLAY)).inputs
    grown = provider.check(old, {**OVERLAY, "capacity": 20.0})
    assert not grown.failures
    change = provider.diff("id", old, grown.inputs)
    assert (change.changes, change.replaces) == (True, [])
    shrunk = provider.check(old, {**OVERLAY, "capacity": 5.0})
    assert [(each.property, "cannot shrink" in each.reason) for each in shrunk.failures] == [("capacity", True)]
    anew = provider.check(old, {**OVERLAY, "capacity": 5.0, "generation": "2"})
    assert not anew.failures
    change = provider.diff("id", old, anew.inputs)
    assert (change.replaces, change.delete_before_replace) == (["generation"], True)


def test_unknown_input_of_an_overlay_replaces() -> None:
    provider = OverlayDiskProvider()
    old = provider.check({}, dict(OVERLAY)).inputs
    new = provider.check(old, {**OVERLAY, "backing_path": UNKNOWN})
    assert not new.failures
    assert provider.diff("id", old, new.inputs).replaces == ["backing_path"]


@pytest.mark.parametrize("checksum", ["", "sha256:", "md5:" + "0" * 32, "sha256:" + "0" * 63, "sha256:" + "G" * 64])
def test_wrong_checksums_are_refused(checksum: str) -> None:
    found = BaseImageProvider().check({}, {"checksum": checksum, "format": "qcow2"}).failures
    assert [each.property for each in found] == ["checksum"]
