"""Settings of former releases: each is refused with the text that takes its place. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv4Network
from typing import Any

import yaml

from components.config.model import to_camel
from components.config.problems import Problem

_FORMER = ("macvlan", "nodeAccess", "macvlanCheck")
_NETWORK = "macvlan-conf"
_RANGE = "192.168.122.200-192.168.122.210"
_GATEWAY = "192.168.122.1"
_CIDR = "192.168.122.0/24"
_INTERFACE = "enp1s0"
_COPIED = (
    "namespace", "cniVersion", "type", "mode", "mtu", "ipam", "range", "addressesPerNode", "dataDirectory", "defaultRoute",
    "clusterRoutes",
)  # fmt: skip


def without_former(
    values: Mapping[str, Any], project: str, *, replaced: Callable[[], bool]
) -> tuple[dict[str, Any], list[Problem]]:
    """The settings without those of former releases, and a problem that says what to write where there are any.

    replaced: whether podNetworks is set too; called only where there are any.
    """
    rest = {name: value for name, value in values.items() if _camel(name) not in _FORMER}
    former = {_camel(name): value for name, value in values.items() if _camel(name) in _FORMER}
    workload = rest.get("workload")
    address = workload.get("address") if isinstance(workload, Mapping) else None
    if isinstance(workload, Mapping) and "address" in workload:
        rest["workload"] = {name: value for name, value in workload.items() if name != "address"}
    names = [name for name in _FORMER if name in former] + (["workload.address"] if address is not None else [])
    if not names:
        return rest, []
    verb = "is" if len(names) == 1 else "are"
    if replaced():
        conflict = f"{verb} of a former release, and podNetworks is there in place of it; remove it"
    else:
        text = yaml.safe_dump({f"{project}:podNetworks": {_name(former): _network(former, rest, address)}}, sort_keys=False)
        conflict = (
            f"{verb} of a former release; write this in place of it, and leave the name of the network as it is:\n"
            f"{textwrap.indent(text.rstrip(), '      ')}"
        )
    return rest, [Problem(", ".join(names), "", conflict, frozenset(names))]


def _camel(name: Any) -> str:
    """A setting's name as it is written in YAML; underscores are taken too."""
    return to_camel(str(name))


def _mapping(value: Any) -> dict[str, Any]:
    """The settings of a mapping that are a text, a number, true, false or null; what else there is, was never right."""
    items = value.items() if isinstance(value, Mapping) else ()
    return {_camel(name): item for name, item in items if _is_scalar(item)}


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _routes(macvlan: Any) -> list[Any]:
    """The former list of destinations."""
    routes = macvlan.get("routes") if isinstance(macvlan, Mapping) else None
    return [route for route in routes if _is_scalar(route)] if isinstance(routes, list) else []


def _name(former: Mapping[str, Any]) -> str:
    return str(_mapping(former.get("macvlan")).get("name", _NETWORK))


def _network(former: Mapping[str, Any], values: Mapping[str, Any], address: Any) -> dict[str, Any]:
    """The entry of podNetworks that says the same. values: the other settings."""
    macvlan, access, check = (_mapping(former.get(name)) for name in _FORMER)
    nodes = _mapping(values.get("network"))
    network: dict[str, Any] = {"range": _RANGE, **{name: macvlan[name] for name in _COPIED if name in macvlan}}
    # As before: the definition stays as it is, and with it the stack's pod.
    network["ipv6"] = "accept"
    if macvlan.get("master"):
        network["parent"] = macvlan["master"]
        if network["parent"] != nodes.get("interface", _INTERFACE):
            network["cidr"] = nodes.get("cidr", _CIDR)
    routes = _routes(former.get("macvlan"))
    if routes:
        gateway = str(nodes.get("gateway", _GATEWAY))
        network["routes"] = [{"to": route} if _multicast(route) else {"to": route, "via": gateway} for route in routes]
    if access.get("enabled") is True and "addresses" in access:
        network["nodeAccess"] = access["addresses"]
    if check.get("enabled") is False:
        network["check"] = False
    if address is not None and _is_scalar(address):
        pod = str(_mapping(values.get("workload")).get("name", "nginx-macvlan"))
        network["addresses"] = {pod: {"ip": address}}
    return network


def _multicast(route: Any) -> bool:
    try:
        return IPv4Network(route).is_multicast
    except (AddressValueError, ValueError, TypeError):
        return False
