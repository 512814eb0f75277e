"""Kinds of values in a stack's configuration: how each is written, and what is said of a wrong one. Pure."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
)

from components.config import node_labels
from components.config.problems import Mistake, matching, refuse

_CHECKSUM_DIGITS = {"sha256": 64, "sha512": 128}


def _url(value: str) -> str:
    if any(ord(c) <= 32 or ord(c) > 126 for c in value):
        raise ValueError("a URL holds no spaces, control or non-ASCII characters; percent-encode them")
    try:
        whole = (parts := urlsplit(value)).scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # brackets without an address, a port that is none
        whole = False
    if not whole:
        raise ValueError("not an http(s) URL; write it in full, https://host/path")
    return value


def _source(value: str) -> str:
    if value.startswith(("http://", "https://")):
        return _url(value)
    path = value.removeprefix("file://")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(
            "neither an http(s) URL nor an absolute path (or file:// URL) on the machine that runs Pulumi; write one of them"
        )
    return value


def _folder(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("not a directory's name; write its path without control characters")
    return value


def _checksum(value: str) -> str:
    if value.startswith(("http://", "https://")):
        return _url(value)
    algorithm, _, digest = value.partition(":")
    digits = _CHECKSUM_DIGITS.get(algorithm)
    if digits is None or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", digest):
        raise ValueError(
            "not a checksum; write sha256:<64 hex digits> or sha512:<128 hex digits>, "
            "or the URL of a checksum file that names the download"
        )
    return value


def _path(value: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._/+@-]*", value) or ".." in PurePosixPath(value).parts:
        raise ValueError("not an absolute path of letters, digits and ._/+@- without '..'; write one as /var/lib/libvirt/images")
    return value.rstrip("/") or "/"


def _image(value: str) -> str:
    reference = r"(?:[a-z0-9.-]+(?::\d+)?/)?[a-z0-9._/-]+(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
    if len(value) > 255 or not re.fullmatch(reference, value):
        raise ValueError("not an image reference; write registry/repository:tag or registry/repository@sha256:digest")
    if "@" not in value and ":" not in value.rsplit("/", 1)[-1]:
        raise ValueError("names no tag or digest, so it would float; pin it, for example nginx:1.25")
    return value


def _address(value: Any) -> Any:
    # pydantic takes numbers for addresses, and true for 0.0.0.1.
    if not isinstance(value, str | IPv4Address):
        raise ValueError("not an IPv4 address; write one as 192.168.122.1")
    return value


def _network(value: Any) -> Any:
    if not isinstance(value, str | IPv4Network):
        raise ValueError("not an IPv4 network; write one as 192.168.122.0/24")
    return value


def _ipv6_address(value: Any) -> Any:
    if not isinstance(value, str | IPv6Address):
        raise ValueError("not an IPv6 address; write one as fd00:50::10")
    return value


def _ipv6_network(value: Any) -> Any:
    if not isinstance(value, str | IPv6Network):
        raise ValueError("not an IPv6 network; write one as fd00:50::/64")
    return value


def _quantity(value: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", value):
        raise ValueError("not a Kubernetes quantity; write one as 100m or 256Mi")
    return value


_SUFFIX = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity_bytes(quantity: str) -> float:
    number, suffix = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * _SUFFIX.get(suffix, 0.001)


def _version(value: str) -> str:
    if not re.fullmatch(r"v1\.\d{1,3}\.\d{1,3}(-[a-z0-9.]{1,20})?\+k3s\d{1,3}", value):
        raise ValueError("not a K3s release; write it as v1.27.8+k3s2 (channels float, so they are not taken)")
    return value


def _text(value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise ValueError("holds control or non-ASCII characters; write it with printable ASCII alone")
    return value


# K3s's own links in its plugin directory (scripts/package-cli); plugins-install.sh refuses to replace them.
K3S_PLUGINS = frozenset({"bandwidth", "bridge", "firewall", "flannel", "host-local", "loopback", "portmap"})


def _plugin(value: str) -> str:
    if value in K3S_PLUGINS:
        raise ValueError("is a plugin that K3s brings itself and that must not be replaced; remove it")
    return value


def _labels(labels: dict[str, str]) -> dict[str, str]:
    refuse(
        Mistake((key,), value, f"is no label to be set: {node_labels.OWN[key]}; remove it, or choose another key", named=True)
        for key, value in labels.items()
        if key in node_labels.OWN
    )
    return labels


def _api_address(value: str) -> str:
    if re.fullmatch(r"[0-9.]+", value):
        try:
            address = IPv4Address(value)
        except AddressValueError:
            raise ValueError("neither an IPv4 address nor a host name; write one as 192.168.122.170 or k3s.example") from None
        # Not this machine's own: somebody may forward the port to it.
        if address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255"):
            raise ValueError("is no address of one machine for the others; write one of the network, such as 192.168.122.170")
    return value


# The ways in which Linux's tools name the sub-interface of a VLAN.
_VLAN = re.compile(r".+\.[0-9]{1,4}|vlan[0-9]{1,4}")


# What K3s makes on a node, and what leads nowhere.
_NO_PARENT = ("lo", "cni0", "flannel.1", "flannel-wg", "kube-ipvs0")


def parent_interface(value: str) -> str:
    if value in _NO_PARENT:
        raise ValueError(
            "is no interface on the network: K3s or the kernel makes it on each node; name the node's NIC, such as enp1s0"
        )
    if _VLAN.fullmatch(value):
        raise ValueError(
            "is the sub-interface of a VLAN, which a network for pods makes by itself; name the interface that the nodes have "
            "without it here, and the VLAN's number in podNetworks.NAME.vlan"
        )
    return value


Url = Annotated[str, AfterValidator(_url)]
Source = Annotated[str, AfterValidator(_source)]
Checksum = Annotated[str, AfterValidator(_checksum)]
Path = Annotated[str, AfterValidator(_path)]
Image = Annotated[str, AfterValidator(_image)]
Folder = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_folder)]
Address = Annotated[IPv4Address, BeforeValidator(_address)]
Subnet = Annotated[IPv4Network, BeforeValidator(_network)]
Ipv6Address = Annotated[IPv6Address, BeforeValidator(_ipv6_address)]
Ipv6Subnet = Annotated[IPv6Network, BeforeValidator(_ipv6_network)]
Quantity = Annotated[str, AfterValidator(_quantity)]
K3sVersion = Annotated[str, AfterValidator(_version)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_text)]
# RFC 1123 labels: what Kubernetes and libvirt both take as a name.
Name = Annotated[
    str,
    matching(
        r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "not a name; write 1 to 63 lower-case letters, digits and '-', the first and the last no '-'",
    ),
]
LibvirtName = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        "not a name of a network; write 1 to 64 letters, digits and ._-, the first a letter or digit",
    ),
]
# Linux: 15 bytes at most, and the name is used on command lines of the node.
INTERFACE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$"


_INTERFACE_FORM = "not a name of an interface; write 1 to 15 letters, digits and ._-, such as enp1s0"


Interface = Annotated[str, matching(INTERFACE_PATTERN, _INTERFACE_FORM), AfterValidator(parent_interface)]
Mac = Annotated[
    str,
    matching(
        r"^(?i:[0-9a-f][02468ace](:[0-9a-f]{2}){5})$",
        "not a MAC address of a single machine; write six pairs of hex digits, the first pair even, such as 52:54:00:12:34:56",
        to_lower=True,
    ),
]
PluginName = Annotated[
    str,
    matching(r"^[a-z0-9][a-z0-9-]{0,30}$", "not a name of a plugin; write it as in the archive, such as macvlan"),
    AfterValidator(_plugin),
]
EnvironmentName = Annotated[
    str, matching(r"^[A-Z_][A-Z0-9_]{0,63}$", "not a name of a variable; write capitals, digits and _, such as HTTPS_PROXY")
]


# Names with dots between them, as in RFC 1123; Kubernetes takes lower case alone.
_DOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"


_DOMAIN_ANY_CASE = _DOMAIN.replace("a-z0-9", "A-Za-z0-9")


LabelKey = Annotated[
    str,
    matching(
        rf"^({_DOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?$",
        "not a key of a Kubernetes label; write name or domain/name, such as disk or example.com/disk",
    ),
]
LabelValue = Annotated[
    str,
    matching(
        r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
        "not a value of a Kubernetes label; write up to 63 letters, digits and ._-, the first and the last a letter or digit",
    ),
]
Labels = Annotated[dict[LabelKey, LabelValue], AfterValidator(_labels)]
Taint = Annotated[
    str,
    matching(
        rf"^({_DOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?"
        r"(=([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?)?:(NoSchedule|PreferNoSchedule|NoExecute)$",
        "not a taint; write key=value:Effect, such as dedicated=storage:NoSchedule",
    ),
]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86400)]
OptionName = Annotated[
    str,
    matching(
        r"^[a-z][a-z0-9-]*\+?$", "not a key of K3s's config.yaml; write a flag of K3s without its dashes, such as kubelet-arg"
    ),
]


def _destination(value: IPv4Network) -> IPv4Network:
    if value.prefixlen == 0:
        raise ValueError(
            "0.0.0.0/0 takes the pod off ClusterIP and DNS; if you mean it, set defaultRoute: true; if only replies are meant to "
            "go that way, replies: by-source"
        )
    return value


Destination = Annotated[IPv4Network, BeforeValidator(_network), AfterValidator(_destination)]
# Empty: none; a server's own address serves.
ApiAddress = Annotated[
    str,
    matching(rf"^({_DOMAIN_ANY_CASE})?$", "neither an IPv4 address nor a host name; write one as 192.168.122.170 or k3s.example"),
    AfterValidator(_api_address),
]
