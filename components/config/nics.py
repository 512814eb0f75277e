"""Network interfaces of machines as settings: what a NIC is plugged into, and those that a machine has beyond its first. Pure.

Names are those of libvirt where it has one: https://libvirt.org/formatdomain.html#network-interfaces. What concerns several NICs,
or NICs and other settings, is in nic_conflicts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from components.config.model import Model
from components.config.problems import Mistake, matching, refuse
from components.config.value_types import LibvirtName, Mac, parent_interface

FIRST_PLACE = 2
"""Of a further NIC in its default name: enp1s0 is the first one."""


def _vlan(value: Any) -> Any:
    # By itself, because a union reports the mistakes of each of its kinds.
    tags = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(tag, bool) or not isinstance(tag, int) or not 1 <= tag <= 4094 for tag in tags):
        raise ValueError("not a VLAN's tag; write a number from 1 to 4094, or a list of them for a trunk, as [50, 60]")
    if not tags or len(set(tags)) < len(tags):
        raise ValueError("a trunk without tags, or with one twice; write each tag once, as [50, 60]")
    return value


def _interface_address(value: Any) -> Any:
    form = "not an IPv4 address with the length of its prefix; write one as 10.0.0.5/24"
    if not isinstance(value, str | IPv4Interface) or "/" not in str(value):
        raise ValueError(form)
    try:
        address = IPv4Interface(value)
    except ValueError:
        raise ValueError(form) from None
    network = address.network
    if network.prefixlen < 31 and address.ip in (network.network_address, network.broadcast_address):
        raise ValueError("the network's own address or its broadcast address, which no machine has; write another, as 10.0.0.5/24")
    return address


VlanTag = Annotated[int, Field(strict=True, ge=1, le=4094)]
Vlan = Annotated[VlanTag | tuple[VlanTag, ...], BeforeValidator(_vlan)]
InterfaceAddress = Annotated[
    IPv4Interface, BeforeValidator(_interface_address), WithJsonSchema({"type": "string", "format": "ipv4interface"})
]
Queues = Annotated[int, Field(strict=True, ge=1, le=256)]
BridgeName = Annotated[
    # As INTERFACE_PATTERN: a pattern has one form.
    str,
    matching(r"^[A-Za-z0-9][-A-Za-z0-9._]{0,14}$", "not a name of a bridge; write 1 to 15 letters, digits and ._-, such as br0"),
]
# libvirt takes no dot in an alias, which has the name in it, and systemd no name of digits alone.
NicName = Annotated[
    str,
    matching(
        r"^[A-Za-z][A-Za-z0-9_-]{0,14}$",
        "not a name of a NIC; write 1 to 15 letters, digits and _-, the first a letter, such as enp2s0 or lan",
    ),
    AfterValidator(parent_interface),
]


def vlan_mistakes(vlan: int | tuple[int, ...] | None, native_vlan: int | None) -> Iterator[Mistake]:
    """Where the native VLAN does not go with the others."""
    if native_vlan is not None and not isinstance(vlan, tuple):
        conflict = "is the VLAN of frames without a tag on a trunk, and vlan is none; write vlan as a list, or remove it"
        yield Mistake(("nativeVlan",), native_vlan, conflict, ("vlan",))
    elif native_vlan is not None and isinstance(vlan, tuple) and native_vlan in vlan:
        conflict = "is in vlan too, whose frames have a tag; remove it from one of them"
        yield Mistake(("nativeVlan",), native_vlan, conflict, ("vlan",))


def vlan_text(vlan: int | tuple[int, ...] | None, native_vlan: int | None) -> str:
    """The VLANs as an input of `Domain` has them: "50"; "trunk 50,60"; "trunk 50,60 native 10"; "" for none."""
    if isinstance(vlan, tuple):
        trunk = f"trunk {','.join(map(str, sorted(vlan)))}"
        return trunk if native_vlan is None else f"{trunk} native {native_vlan}"
    return "" if vlan is None else str(vlan)


class Nic(Model):
    """A network interface of a machine beyond its first."""

    network: LibvirtName | None = None
    """libvirt network that it is on. Either this or `bridge`."""
    portgroup: LibvirtName | None = None
    """Port group of that network, which gives it a VLAN where the network has several."""
    bridge: BridgeName | None = None
    """Bridge of the hypervisor that it is on, of Linux or of Open vSwitch. Either this or `network`."""
    openvswitch: bool = False
    """The bridge is one of Open vSwitch."""
    vlan: Vlan | None = None
    """VLAN of the bridge that its frames are on, without a tag in the guest; a list is a trunk: these VLANs, with their tags in the
    guest. Open vSwitch, or libvirt 11.0 or later and a Linux bridge that filters VLANs."""
    native_vlan: VlanTag | None = None
    """With a trunk: VLAN of frames that have no tag in the guest."""
    name: NicName | None = None
    """Name in the guest, given to it by its MAC address; absent: enp2s0, enp3s0, … by its place in the list. With another name it
    is another NIC."""
    model: Literal["virtio", "e1000e", "e1000", "igb", "rtl8139", "vmxnet3"] = "virtio"
    """The device that the guest sees."""
    mac: Mac | None = None
    """MAC address, of one node; absent: made from the stack's, the node's and the NIC's names."""
    mtu: Annotated[int, Field(strict=True, ge=576, le=65535)] | None = None
    """MTU in bytes that the node gives it, no more than its network or bridge carries; absent: the NIC's own. At most this is the
    `mtu` of networks for pods on it."""
    queues: Queues | None = None
    """Queues of a virtio NIC, which as many CPUs of the node serve at once; absent: one."""
    address: InterfaceAddress | None = None
    """IPv4 address of one node on it, as 10.0.0.5/24, without any default route; absent: the node has none there, unless `dhcp`."""
    dhcp: bool = False
    """The node takes an address from the DHCP server there, and neither routes nor name servers."""

    @model_validator(mode="after")
    def _consistent(self) -> Nic:
        refuse([*self._place(), *vlan_mistakes(self.vlan, self.native_vlan), *self._device()])
        return self

    def _place(self) -> Iterator[Mistake]:
        if self.network is None and self.bridge is None:
            conflict = "is needed, or bridge: what the NIC is plugged into; write the name of a libvirt network, or bridge: NAME"
            yield Mistake(("network",), None, conflict, ("bridge",))
        if self.network is None:
            if self.portgroup is not None:
                conflict = "is a part of a libvirt network; set network too, or remove it"
                yield Mistake(("portgroup",), self.portgroup, conflict, ("network",))
            return
        if self.bridge is not None:
            conflict = "cannot be, because the NIC is on a libvirt network already (network); write one of the two"
            yield Mistake(("bridge",), self.bridge, conflict, ("network",))
            return
        if self.openvswitch:
            conflict = "goes with bridge: of a libvirt network its own definition says it (<virtualport>); remove it"
            yield Mistake(("openvswitch",), True, conflict, ("network",))
        if self.vlan is not None:
            conflict = (
                "goes with bridge: a libvirt network gives VLANs by its port groups; write portgroup: NAME, or name the network's "
                "bridge in bridge"
            )
            yield Mistake(("vlan",), None, conflict, ("network",))

    def _device(self) -> Iterator[Mistake]:
        if self.queues is not None and self.model != "virtio":
            conflict = f"is possible for model virtio alone, and model is {self.model}; remove it"
            yield Mistake(("queues",), self.queues, conflict, ("model",))
        if self.dhcp and self.address is not None:
            conflict = "is not possible with an address, which the node has on the NIC for good; remove one of the two"
            yield Mistake(("dhcp",), True, conflict, ("address",))

    @property
    def place(self) -> str:
        """What it is plugged into, for people: bridge br1, VLAN 50; bridge br1, trunk 50,60."""
        if self.network is not None:
            return f"libvirt network {self.network}" + (f" ({self.portgroup})" if self.portgroup else "")
        vlan = vlan_text(self.vlan, self.native_vlan)
        words = vlan if isinstance(self.vlan, tuple) else f"VLAN {vlan}"
        return f"bridge {self.bridge}" + (f", {words}" if vlan else "")


def named(nics: Sequence[Nic]) -> tuple[tuple[str, Nic], ...]:
    """The NICs of a list with their names in the guest."""
    return tuple((nic.name or f"enp{FIRST_PLACE + place}s0", nic) for place, nic in enumerate(nics))
