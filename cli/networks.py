"""The networks that a pod requests, those that it has, and where the two differ. Pure.

By Multus's own rules, the same in v4.2.4 and v4.3.0: parsePodNetworkAnnotation in pkg/k8sclient for the request, getIfname in
pkg/multus for the names of interfaces, CreateNetworkStatuses of the network-attachment-definition-client for the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

NETWORKS = "k8s.v1.cni.cncf.io/networks"
STATUS = "k8s.v1.cni.cncf.io/network-status"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONGEST_INTERFACE = 15  # IFNAMSIZ less its final zero


class NetworkSelection(BaseModel):
    """One entry of the annotation `k8s.v1.cni.cncf.io/networks`, a NetworkSelectionElement."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    name: str = ""
    """Name of the NetworkAttachmentDefinition."""
    namespace: str = ""
    """Its namespace."""
    interface: str = ""
    """Requested name of the interface; empty: net1, net2, ... by the entry's place in the annotation."""
    ips: tuple[str, ...] = Field(default=(), strict=False)
    """Requested addresses, with or without the length of the prefix (192.168.122.207/24)."""
    mac: str = ""
    """Requested MAC address."""
    infiniband_guid: str = Field(default="", alias="infiniband-guid")
    """Requested InfiniBand GUID."""
    default_route: tuple[str, ...] = Field(default=(), alias="default-route", strict=False)
    """Gateways for a default route by this interface."""
    ipam_claim: str = Field(default="", alias="ipam-claim-reference")
    """Name of an IPAMClaim; Multus does not read it, other plugins do."""

    @property
    def network(self) -> str:
        """namespace/name, as network-status writes it."""
        return f"{self.namespace}/{self.name}"

    @model_validator(mode="before")
    @classmethod
    def _as_go_reads_it(cls, value: Any) -> Any:
        """Go's decoder takes keys in any case and leaves a field at its zero value for null."""
        if not isinstance(value, dict):
            raise ValueError("is not an object")
        lower = {str(key).lower(): item for key, item in value.items() if item is not None}
        if not isinstance(lower.get("ipam-claim-reference", ""), str):
            del lower["ipam-claim-reference"]  # Multus does not read it
        return {"interface": lower.get("interfacerequest", ""), **lower}

    @field_validator("ips", "default_route")
    @classmethod
    def _addresses(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for value in values:
            address, slash, prefix = value.partition("/")
            parsed = _address(address)
            longest = 128 if isinstance(parsed, IPv6Address) else 32
            valid_prefix = re.fullmatch(r"\d{1,3}", prefix) and int(prefix) <= longest and info.field_name == "ips"
            if parsed is None or (slash and not valid_prefix):
                raise ValueError(f"{value!r} is no IP address")
        return values

    @field_validator("mac", "infiniband_guid")
    @classmethod
    def _hardware(cls, value: str) -> str:
        if value and not _digits(value):
            raise ValueError(f"{value!r} is no MAC address")
        return value


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One interface of a pod, an entry of network-status."""

    name: str
    """Name of the interface in the pod (net1)."""
    network: str
    """namespace/name of the NetworkAttachmentDefinition, or the name of the cluster's own network for eth0."""
    addresses: tuple[str, ...] = ()
    """IPv4 and IPv6 addresses that IPAM gave, without prefix length."""
    mac: str = ""
    """MAC address; empty where it is not reported."""
    gateways: tuple[str, ...] = ()
    """Gateways of the default routes that its own plugins made, without what an annotation's default-route changes."""

    @property
    def own(self) -> bool:
        """It is on a NetworkAttachmentDefinition: any but eth0, and eth0 too where v1.multus-cni.io/default-network names one."""
        return self.name != "eth0" or "/" in self.network


def requests(annotation: str, namespace: str) -> tuple[NetworkSelection, ...]:
    """The networks that the annotation of a pod in `namespace` requests. Raises ValueError where Multus refuses it."""
    if not annotation:
        return ()
    selections = tuple(_json(annotation) if re.search(r'[\[{"]', annotation) else map(_short, annotation.split(",")))
    for selection in selections:
        if not selection.name:
            raise ValueError("an entry names no network")
    return tuple(selection.model_copy(update={"namespace": selection.namespace or namespace}) for selection in selections)


def _json(annotation: str) -> Iterator[NetworkSelection]:
    try:
        entries = json.loads(annotation)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not isinstance(entries, list):
        raise ValueError("its JSON is no list")
    for index, entry in enumerate(entries, 1):
        try:
            yield NetworkSelection.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"entry {index}{', ' if where else ''}{where}: {message}") from None


def _short(item: str) -> NetworkSelection:
    """namespace/name@interface, of which the namespace and the interface may be absent."""
    item = item.strip()
    namespace, slash, rest = item.rpartition("/")
    name, at, interface = rest.partition("@")
    namespace, name, interface = namespace.strip(), name.strip(), interface.strip()
    if "/" in namespace or (slash and "/" in rest) or "@" in interface:
        raise ValueError(f"{item!r} is not namespace/name@interface")
    for part in (namespace, name):
        if part and not _LABEL.fullmatch(part):
            raise ValueError(f"{part!r} is no name of lower-case letters, digits and '-'")
    if at and interface and (len(interface.encode()) > _LONGEST_INTERFACE or re.search(r"[\s/]", interface)):
        raise ValueError(f"{interface!r} is no name of an interface, at most {_LONGEST_INTERFACE} bytes without spaces and '/'")
    return NetworkSelection(namespace=namespace, name=name, interface=interface)


def interfaces(status: str) -> tuple[Interface, ...]:
    """The interfaces that network-status reports; none where it is not readable."""
    try:
        entries = json.loads(status) if status else []
    except ValueError:
        return ()
    return tuple(
        Interface(
            name=str(entry.get("interface") or "eth0"),
            network=str(entry.get("name") or ""),
            addresses=tuple(str(address) for address in entry.get("ips") or ()),
            mac=str(entry.get("mac") or ""),
            gateways=tuple(str(address) for address in entry.get("gateway") or ()),
        )
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    )


def differences(selections: Sequence[NetworkSelection], reported: Sequence[Interface]) -> tuple[str, ...]:
    """What a pod requests and does not have, interface by interface."""
    texts: list[str] = []
    for index, interface in enumerate(matched(selections, reported)):
        texts += _entry(selections[index], interface, reported)
    return tuple(texts)


def matched(selections: Sequence[NetworkSelection], reported: Sequence[Interface]) -> list[Interface | None]:
    """For each entry its interface: by network and name, and where some are left without one, by the network alone."""
    names = [selection.interface or f"net{index}" for index, selection in enumerate(selections, 1)]
    unmatched = list(reported)
    matched: list[Interface | None] = []
    for selection, name in zip(selections, names, strict=True):
        exact = next(
            (interface for interface in unmatched if (interface.network, interface.name) == (selection.network, name)), None
        )
        matched.append(exact)
        if exact:
            unmatched.remove(exact)
    for index, selection in enumerate(selections):
        if matched[index] is None:
            matched[index] = next((interface for interface in unmatched if interface.network == selection.network), None)
            if matched[index]:
                unmatched.remove(matched[index])  # type: ignore[arg-type]
    return matched


def _entry(selection: NetworkSelection, interface: Interface | None, reported: Sequence[Interface]) -> Iterator[str]:
    if interface is None:
        same_name = next((other for other in reported if other.name == selection.interface), None)
        instead = f"; {same_name.name} is on {same_name.network}" if same_name else ""
        yield f"has no interface{' ' + selection.interface if selection.interface else ''} on {selection.network}{instead}"
        return
    where = f"{interface.name} ({interface.network})"
    if selection.interface and interface.name != selection.interface:
        yield f"asks for the interface {selection.interface} on {interface.network}, which is named {interface.name}"
    addresses = {_address(address) for address in interface.addresses}
    for requested in selection.ips:
        if _address(requested.partition("/")[0]) not in addresses:
            yield f"asks for the address {requested} on {where}, which has {', '.join(interface.addresses) or 'none'}"
    for hardware in (selection.mac, selection.infiniband_guid):
        # An InfiniBand interface ends in its GUID: the hardware address has 20 bytes.
        if hardware and not (_digits(interface.mac) or "").endswith(_digits(hardware) or "-"):
            yield f"asks for the MAC address {hardware} on {where}, which has {interface.mac or 'none'}"


def same_hardware(mac: str) -> str:
    """A MAC address in the one form that equal ones have: lower-case digits; empty where it is none."""
    return _digits(mac) or ""


def same_address(text: str) -> str:
    """An IP address in the one form that equal ones have; empty where it is none."""
    address = _address(text)
    return str(address) if address else ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """As Go's net.ParseIP: no zone."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


def _digits(mac: str) -> str | None:
    """The hex digits of a MAC address of 6, 8 or 20 bytes, as Go's net.ParseMAC reads it; None where it is none."""
    colons = re.fullmatch(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2})*", mac)
    dots = re.fullmatch(r"[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4})*", mac)
    digits = re.sub(r"[:.-]", "", mac).lower()
    return digits if (colons or dots) and len(digits) in (12, 16, 40) else None
