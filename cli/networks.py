"""The networks that a pod asks for, those that it has, and where the two differ. Pure.

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
    """Name of the interface that is asked for; empty: net1, net2, ... by the entry's place in the annotation."""
    ips: tuple[str, ...] = Field(default=(), strict=False)
    """Addresses that are asked for, with or without the length of the prefix (192.168.122.207/24)."""
    mac: str = ""
    """MAC address that is asked for."""
    infiniband_guid: str = Field(default="", alias="infiniband-guid")
    """InfiniBand GUID that is asked for."""
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
            del lower["ipam-claim-reference"]  # Multus does not look at it
        return {"interface": lower.get("interfacerequest", ""), **lower}

    @field_validator("ips", "default_route")
    @classmethod
    def _addresses(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for value in values:
            address, slash, prefix = value.partition("/")
            found = _address(address)
            longest = 128 if isinstance(found, IPv6Address) else 32
            whole = re.fullmatch(r"\d{1,3}", prefix) and int(prefix) <= longest and info.field_name == "ips"
            if found is None or (slash and not whole):
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
    """One interface of a pod, an entry of network-status.

    network: namespace/name of the NetworkAttachmentDefinition, or the name of the cluster's own network for eth0.
    addresses: IPv4 and IPv6 addresses that IPAM gave, without prefix length. mac: MAC address; empty where it is not reported.
    """

    name: str
    network: str
    addresses: tuple[str, ...] = ()
    mac: str = ""

    @property
    def own(self) -> bool:
        """It is on a NetworkAttachmentDefinition: any but eth0, and eth0 too where v1.multus-cni.io/default-network names one."""
        return self.name != "eth0" or "/" in self.network


def requests(annotation: str, namespace: str) -> tuple[NetworkSelection, ...]:
    """What the annotation of a pod in `namespace` asks for. ValueError where Multus would refuse it, with what is wrong."""
    if not annotation:
        return ()
    found = tuple(_json(annotation) if re.search(r'[\[{"]', annotation) else map(_short, annotation.split(",")))
    for each in found:
        if not each.name:
            raise ValueError("an entry names no network")
    return tuple(each.model_copy(update={"namespace": each.namespace or namespace}) for each in found)


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
        )
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    )


def differences(asked: Sequence[NetworkSelection], given: Sequence[Interface]) -> tuple[str, ...]:
    """What a pod asks for and has not, interface by interface."""
    found: list[str] = []
    for index, interface in enumerate(_matched(asked, given)):
        found += _entry(asked[index], interface, given)
    return tuple(found)


def _matched(asked: Sequence[NetworkSelection], given: Sequence[Interface]) -> list[Interface | None]:
    """For each entry its interface: by network and name, and where that leaves some over, by the network alone."""
    names = [each.interface or f"net{index}" for index, each in enumerate(asked, 1)]
    left = list(given)
    matched: list[Interface | None] = []
    for each, name in zip(asked, names, strict=True):
        exact = next((other for other in left if (other.network, other.name) == (each.network, name)), None)
        matched.append(exact)
        if exact:
            left.remove(exact)
    for index, each in enumerate(asked):
        if matched[index] is None:
            matched[index] = next((other for other in left if other.network == each.network), None)
            if matched[index]:
                left.remove(matched[index])  # type: ignore[arg-type]
    return matched


def _entry(asked: NetworkSelection, has: Interface | None, given: Sequence[Interface]) -> Iterator[str]:
    if has is None:
        other = next((each for each in given if each.name == asked.interface), None)
        instead = f"; {other.name} is on {other.network}" if other else ""
        yield f"has no interface{' ' + asked.interface if asked.interface else ''} on {asked.network}{instead}"
        return
    where = f"{has.name} ({has.network})"
    if asked.interface and has.name != asked.interface:
        yield f"asks for the interface {asked.interface} on {has.network}, which is named {has.name}"
    addresses = {_address(each) for each in has.addresses}
    for each in asked.ips:
        if _address(each.partition("/")[0]) not in addresses:
            yield f"asks for the address {each} on {where}, which has {', '.join(has.addresses) or 'none'}"
    for wanted in (asked.mac, asked.infiniband_guid):
        # An InfiniBand interface ends in its GUID: the hardware address has 20 bytes.
        if wanted and not (_digits(has.mac) or "").endswith(_digits(wanted) or "-"):
            yield f"asks for the MAC address {wanted} on {where}, which has {has.mac or 'none'}"


def same_hardware(mac: str) -> str:
    """A MAC address in the one form that equal ones have: lower-case digits; empty where it is none."""
    return _digits(mac) or ""


def same_address(text: str) -> str:
    """An IP address in the one form that equal ones have; empty where it is none."""
    found = _address(text)
    return str(found) if found else ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """As Go's net.ParseIP: no zone."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        return None if found.scope_id else found.ipv4_mapped or found
    return found


def _digits(mac: str) -> str | None:
    """The hex digits of a MAC address of 6, 8 or 20 bytes, as Go's net.ParseMAC reads it; None where it is none."""
    colons = re.fullmatch(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2})*", mac)
    dots = re.fullmatch(r"[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4})*", mac)
    digits = re.sub(r"[:.-]", "", mac).lower()
    return digits if (colons or dots) and len(digits) in (12, 16, 40) else None
