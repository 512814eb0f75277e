"""Devices of a hypervisor that machines are given: read from libvirt's list, found by a setting, written into a definition."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pulumi.output import Unknown

from components.libvirt import connection, domain_apply, domain_edit, domain_hostdevs, domain_spec, host_device, node_devices
from components.libvirt.connection import HypervisorError
from components.libvirt.device_words import hostdev
from components.libvirt.domain import DomainProvider
from components.libvirt.host_device import HostDeviceProvider
from components.libvirt.node_devices import NodeDevice
from components.libvirt.xml import parse

from . import node_device_documents as documents
from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit

SETTING = "agents.devices.zigbee.usb"
ALL = [
    documents.NIC_WITHOUT_IOMMU, documents.LOOPBACK, documents.HUB_OF_USB, documents.STICK, documents.READER,
    documents.pci("0000:03:00.0", "8086", "1572", driver="i40e", members=("0000:03:00.1",)),
    documents.pci("0000:00:1c.0", "8086", "a111", driver="pcieport", bridge=True),
]  # fmt: skip


# --- what is there


def test_what_libvirt_lists_is_read() -> None:
    devices = node_devices.read_all(ALL)
    assert [str(device) for device in devices] == [
        "1af4:1041 at 0000:00:03.0",
        "8086:a111 at 0000:00:1c.0 (Intel Corporation Ethernet Controller X710)",
        "8086:1572 at 0000:03:00.0 (Intel Corporation Ethernet Controller X710)",
        "1a86:7523 at port 1-2.3 (QinHeng Electronics CH340 serial converter)",
        "04e6:5116 at port 2-1",
    ]
    plain, bridge, nic, stick, _reader = devices
    assert (plain.group, plain.driver, plain.bridge) == ("", "virtio-pci", False)
    assert (nic.group, nic.group_members, nic.driver) == ("12", ("0000:03:00.0", "0000:03:00.1"), "i40e")
    assert bridge.bridge and (stick.number, stick.node) == ("1 6", "usb_1_2_3")


def chosen(choice: str) -> list[str]:
    return [device.place for device in node_devices.chosen(node_devices.read_all([*ALL, documents.SECOND_STICK]), choice)]


def test_a_setting_finds_it() -> None:
    assert chosen("1a86:7523") == ["1-2.3", "1-4"] and chosen("port 1-2.3") == ["1-2.3"] and chosen("port 1-2") == []
    assert chosen("8086:1572") == chosen("0000:03:00.0") == ["0000:03:00.0"]


# --- in a definition


def given(kind: str, choice: str, address: str = "", *, optional: bool = False, name: str = "a") -> dict[str, Any]:
    return {"name": name, "kind": kind, "choice": choice, "address": address, "optional": optional}


def spec(*host_devices: dict[str, Any]) -> domain_spec.DomainSpec:
    return dataclasses.replace(SPEC, devices=tuple(domain_hostdevs.devices({"host_devices": list(host_devices)})))


USB = (
    '<hostdev mode="subsystem" type="usb" managed="yes"><source><vendor id="0x1a86" /><product id="0x7523" /></source>'
    '<alias name="ua-k3s-macvlan-device-a" /></hostdev>'
)
PCI = (
    '<hostdev mode="subsystem" type="pci" managed="yes"><source><address domain="0x0000" bus="0x03" slot="0x00" function="0x0" />'
    '</source><alias name="ua-k3s-macvlan-device-b" /></hostdev>'
)


def test_a_definition_has_each_device_as_libvirt_writes_it() -> None:
    document = domain_spec.domain(spec(given("usb", "1a86:7523", "there"), given("pci", "8086:1572", "0000:03:00.0", name="b")))
    assert USB in document and PCI in document
    port = domain_spec.domain(spec(given("usb", "port 1-2.3", "1 6", optional=True)))
    assert '<source startupPolicy="optional"><address bus="1" device="6" /></source>' in port


def test_what_is_absent_and_has_no_place_is_left_out() -> None:
    absent = [given("usb", "port 1-2.3", optional=True), given("pci", "8086:1572", optional=True)]
    assert spec(*absent).devices == () and spec().devices == ()
    # libvirt looks for one that is named by what it is at each start.
    (device,) = spec(given("usb", "1a86:7523", optional=True)).devices
    assert device.deferred and 'startupPolicy="optional"' in device.element


# A running guest's: what libvirt adds to both.
RUNNING_USB = (
    "<hostdev mode='subsystem' type='usb' managed='yes'><source{}><vendor id='0x1a86'/><product id='0x7523'/>"
    "<address bus='1' device='6'/></source><alias name='ua-k3s-macvlan-device-a'/><address type='usb' bus='0' port='1'/></hostdev>"
)
RUNNING_PCI = (
    "<hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/>"
    "<source><address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></source><alias name='ua-k3s-macvlan-device-b'/>"
    "<address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></hostdev>"
)


def test_the_words_are_alike_wanted_stored_and_running() -> None:
    wanted = spec(given("usb", "1a86:7523", "there"), given("pci", "8086:1572", "0000:03:00.0", name="b"))
    running = domain_spec.domain(SPEC).replace("</devices>", f"{RUNNING_USB.format('')}{RUNNING_PCI}</devices>")
    assert domain_edit.differences(domain_spec.domain(wanted), wanted) == []
    assert domain_edit.differences(running, wanted) == domain_edit.devices_to_change(running, wanted) == []
    assert [hostdev(parse(text)) for text in (USB, PCI)] == ["USB 1a86:7523", "PCI 0000:03:00.0"]


def test_another_place_or_policy_is_a_difference() -> None:
    document = domain_spec.domain(spec(given("usb", "port 1-2.3", "1 6")))
    assert [str(change) for change in domain_edit.differences(document, spec(given("usb", "port 1-2.3", "1 7")))] == [
        "device a: USB bus 1 device 6, not USB bus 1 device 7"
    ]
    assert [
        str(change) for change in domain_edit.differences(document, spec(given("usb", "port 1-2.3", "1 6", optional=True)))
    ] == ["device a: USB bus 1 device 6, not USB bus 1 device 6, optional"]
    assert [str(change) for change in domain_edit.differences(document, SPEC)] == ["hostdev device-a: USB bus 1 device 6, not none"]


def test_a_guest_that_was_started_without_an_absent_device_gets_it_when_it_is_there() -> None:
    away, wanted = spec(given("usb", "1a86:7523", optional=True)), spec(given("usb", "1a86:7523", "there", optional=True))
    absent = RUNNING_USB.format(" startupPolicy='optional' missing='yes'")
    live = domain_spec.domain(SPEC).replace("</devices>", f"{absent}</devices>")
    assert domain_edit.restarts(live, domain_spec.domain(away), away) == [], "nothing is to be done while it is away"
    assert [change.alias for change in domain_edit.restarts(live, domain_spec.domain(away), wanted)] == ["ua-k3s-macvlan-device-a"]
    assert [str(change) for change in domain_edit.devices_to_change(live, wanted)] == [
        "device a: USB 1a86:7523, optional, absent, not USB 1a86:7523, optional"
    ]


def test_what_others_attached_is_theirs() -> None:
    theirs = USB.replace("ua-k3s-macvlan-device-a", "ua-mine")
    document = domain_spec.domain(SPEC).replace("</devices>", f"{theirs}</devices>")
    edited = domain_edit.edit(document, spec(given("pci", "8086:1572", "0000:03:00.0", name="b")))
    assert theirs in edited and theirs in domain_edit.edit(edited, SPEC)


# --- the domain's inputs


def inputs(**change: Any) -> dict[str, Any]:
    plain = {
        "uri": "test:///default", "name": "n", "uuid": SPEC.uuid, "owner": "k3s/dev", "node": "n", "memory_mib": 64, "cpus": 1,
        "mac": SPEC.mac, "network": "default", "disk_path": "/p/a", "disk_serial": "s1", "seed_path": "/p/b", "extra_disks": [],
        "pool": "p", "console_log": "/p/log", "virt_type": "qemu", "cpu_mode": "maximum", "cpu_model": "", "disk_cache": "none",
        "machine": "q35", "autostart": True, "stop_timeout": 60, "running": True, "definition": {}, "unmanaged": [],
    }  # fmt: skip
    return {**plain, **change}


def test_no_devices_change_nothing_for_a_stack_that_was_there_before() -> None:
    provider = DomainProvider()
    news = provider.check(inputs(), inputs(host_devices=None)).inputs
    assert not provider.diff("id", inputs(), news).changes


def test_a_device_changes_the_machine_in_place_also_while_its_address_is_not_known() -> None:
    provider = DomainProvider()
    for address in ("there", Unknown()):  # type: ignore[no-untyped-call]
        news = provider.check(inputs(), inputs(host_devices=[{**given("usb", "1a86:7523"), "address": address}])).inputs
        result = provider.diff("id", inputs(), news)
        assert result.changes and not result.replaces


def test_a_preview_names_a_device_that_was_taken_out_by_hand() -> None:
    devices = [given("usb", "1a86:7523", "there")]
    olds = inputs(host_devices=devices, definition={"device a": "none"})
    news = DomainProvider().check(olds, inputs(host_devices=devices)).inputs
    assert news["definition"] == {"device a": "USB 1a86:7523"}


# --- the resource


class Host:
    """A hypervisor with these devices, and these running domains by name."""

    def __init__(self, devices: list[str], domains: dict[str, str] | None = None) -> None:
        self.devices, self.domains = devices, domains or {}

    def listAllDevices(self, _flags: int) -> list[Any]:  # noqa: N802 - libvirt's name
        return [_Document(document) for document in self.devices]

    def listAllDomains(self, _flags: int) -> list[Any]:  # noqa: N802
        return [_Document(document, name) for name, document in self.domains.items()]

    def close(self) -> None:
        pass


class _Document:
    def __init__(self, document: str, name: str = "") -> None:
        self.document, self._name = document, name

    def name(self) -> str:
        return self._name

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return self.document


PROPS = {"uri": "qemu:///system", "kind": "usb", "choice": "1a86:7523", "owner": "k3s/dev", "setting": SETTING, "optional": False}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    pytest.importorskip("libvirt")
    host = Host([documents.STICK, documents.READER, documents.HUB_OF_USB])
    monkeypatch.setattr(connection, "opener", lambda _uri: host)
    return host


def create(**change: Any) -> str:
    return str((HostDeviceProvider().create({**PROPS, **change}).outs or {})["address"])


def test_what_is_there_is_named_as_libvirt_finds_it(host: Host) -> None:
    assert create() == "there" and create(choice="port 1-2.3") == "1 6"
    host.devices = [documents.pci("0000:03:00.0", "8086", "1572")]
    assert create(kind="pci", choice="8086:1572") == create(kind="pci", choice="0000:03:00.0") == "0000:03:00.0"


def test_what_is_absent_is_an_error_with_what_is_there(host: Host) -> None:
    with pytest.raises(HypervisorError) as error:
        create(choice="0403:6001")
    for words in (
        f"{SETTING} = 0403:6001: there is no such USB device on qemu:///system",
        "1a86:7523 at port 1-2.3",
        "optional: true",
    ):
        assert words in str(error.value)
    assert "root hub" not in str(error.value)
    assert create(choice="0403:6001", optional=True) == create(choice="port 9-9", optional=True) == ""
    host.devices = []
    with pytest.raises(HypervisorError, match="There are: none"):
        create()


def test_a_card_without_an_iommu_is_refused_before_a_machine_is_restarted_for_it(host: Host) -> None:
    host.devices = [documents.NIC_WITHOUT_IOMMU]
    with pytest.raises(HypervisorError, match=r"1af4:1041 at 0000:00:03\.0 .* no IOMMU group.*intel_iommu=on"):
        create(kind="pci", choice="0000:00:03.0")


def test_several_are_distinguished_by_their_places(host: Host) -> None:
    host.devices.append(documents.SECOND_STICK)
    with pytest.raises(HypervisorError, match=r'2 USB devices .* by its place, as "port 1-2\.3"'):
        create()
    assert create(choice="port 1-4") == "1 7"


@pytest.mark.parametrize(("owner", "remedy"), [("", "virsh detach-device vm"), ("k3s/other", "stack k3s/other"), ("k3s/dev", "")])
def test_a_device_of_another_machine_is_not_taken_from_it(host: Host, owner: str, remedy: str) -> None:
    mark = f"<metadata><m:stack xmlns:m='{domain_spec.MARK}' owner='{owner}'/></metadata>" if owner else ""
    host.domains = {"vm": f"<domain>{mark}<devices>{RUNNING_USB.format('')}</devices></domain>"}
    if not remedy:  # the stack's own may give it up in this run
        assert create() == "there"
        return
    with pytest.raises(HypervisorError) as error:
        create()
    assert "domain 'vm'" in str(error.value) and remedy in str(error.value)


def read(**change: Any) -> dict[str, Any]:
    result = HostDeviceProvider().read("id", {**PROPS, "address": "there", **change})
    return dict(result.outs or {}) if result.id else {}


def test_a_refresh_follows_it(host: Host) -> None:
    assert read()["address"] == "there"
    assert read(choice="port 1-2.3", address="1 5")["address"] == "1 6", "plugged in again"
    host.devices = []
    assert read() == {}, "the next up refuses"
    assert read(optional=True)["address"] == ""
    host.devices = [documents.pci("0000:04:00.0", "8086", "1572")]
    assert read(kind="pci", choice="8086:1572", address="0000:03:00.0")["address"] == "0000:04:00.0", "a card was added before it"


def test_without_what_a_machine_would_not_start(host: Host) -> None:
    """It is queried before a machine is restarted, also where the resource was made long ago."""
    host.devices.append(documents.pci("0000:03:00.0", "8086", "1572"))
    stick, port, card = (
        given("usb", "1a86:7523", "there"),
        given("usb", "port 1-2.3", "1 6"),
        given("pci", "8086:1572", "0000:03:00.0"),
    )
    assert host_device.absent(host, [stick, port, card]) == [] == host_device.absent(host, [])
    host.devices = [documents.usb("1-2.3", "0403", "6001", 9)]
    assert host_device.absent(host, [stick, port, card]) == ["a (1a86:7523)", "a (port 1-2.3)", "a (8086:1572)"]
    assert host_device.absent(host, [{**device, "optional": True} for device in (stick, port, card)]) == ["a (8086:1572)"]
    assert host_device.absent(host, [given("usb", "1a86:7523"), given("pci", "8086:1572")]) == [], "it was never given them"


def test_no_machine_is_restarted_that_would_not_start_again(host: Host) -> None:
    change = domain_edit.Difference("memory", "64 MiB", "96 MiB")
    taken = inputs(host_devices=[given("usb", "0403:6001", "there", name="zwave")])
    with pytest.raises(HypervisorError) as error:
        domain_apply._refuse_lasting_stop(host, taken, "node-1", [change])
    for words in ("'node-1'", "(memory: 64 MiB, not 96 MiB)", "absent: zwave (0403:6001)"):
        assert words in str(error.value)
    domain_apply._refuse_lasting_stop(host, inputs(host_devices=[given("usb", "1a86:7523", "there")]), "node-1", [change])
    domain_apply._refuse_lasting_stop(None, taken, "node-1", [])
    domain_apply._refuse_lasting_stop(None, inputs(), "node-1", [change])


def test_its_check_and_diff_are_pure() -> None:
    provider = HostDeviceProvider()
    assert provider.check({}, {**PROPS, "kind": "scsi"}).failures
    assert not provider.diff("id", {**PROPS, "address": "there"}, {**PROPS, "setting": "agents.devices.z.usb"}).changes
    assert provider.diff("id", PROPS, {**PROPS, "choice": "port 1-2"}).replaces == ["choice"]
    assert provider.diff("id", PROPS, {**PROPS, "optional": True}).changes


def test_a_libvirt_without_a_list_says_what_to_install(host: Host) -> None:
    libvirt = pytest.importorskip("libvirt")

    class Refusal(libvirt.libvirtError):  # type: ignore[misc, name-defined]
        def get_error_code(self) -> int:
            return int(libvirt.VIR_ERR_NO_SUPPORT)

    def refuse(_flags: int) -> Any:
        raise Refusal("not supported")

    host.listAllDevices = refuse  # type: ignore[method-assign]
    with pytest.raises(HypervisorError, match="libvirt-daemon-driver-nodedev"):
        create()


def test_a_device_of_a_guest_is_identified_by_the_number_that_it_has_there() -> None:
    (stick,) = node_devices.read_all([documents.STICK])
    element = parse(RUNNING_USB.format(""))
    assert node_devices.is_given(stick, element)
    assert not node_devices.is_given(dataclasses.replace(stick, number="1 9"), element)
    nic = NodeDevice(kind="pci", node="", place="0000:03:00.0", identity="")
    assert node_devices.is_given(nic, parse(RUNNING_PCI)) and not node_devices.is_given(nic, parse(USB))
