"""A LAN that this program does not manage: whether the addresses the stack wants on it are free, as far as this machine can see.

No server there reports who has which address, so the machines themselves are queried, by ARP. This machine's kernel sends the
queries when it has something to send to them: raw frames would need root. libvirt cannot make a hypervisor send them.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from components.config.addresses import merge, parse_all, subtract
from components.custom.provider import DeclarativeProvider, Props, properties, unreadable
from components.custom.reporting import PlainError, progress, say

MOST = 1024
"""Addresses that are queried at most; the kernel's table of neighbours holds no more (net.ipv4.neigh.default.gc_thresh3)."""
BATCH = 128
LIMIT = 75.0
"""Seconds for a batch: a neighbour of a moment ago is queried again after at most 45, and has failed 8 later (arp(7))."""
NO_ENTRY = 5.0
"""Seconds after which an address that is in no entry is not one of a neighbour."""
DISCARD = 9


class AddressInUseError(PlainError):
    """Machines that are not the stack's answer at addresses that it is to have; the text names both, and the remedy."""


@dataclass(frozen=True, kw_only=True)
class FreeAddressesArgs:
    """Inputs of `FreeAddresses`."""

    cidr: Input[str]
    """The LAN, as 192.168.1.0/24."""
    ranges: Input[Sequence[Input[str]]]
    """Addresses to query, each "first-last" or a single address."""
    macs: Input[Sequence[Input[str]]]
    """MAC addresses of the stack's own machines, which may answer."""


class FreeAddressesProvider(DeclarativeProvider):
    updates = ("cidr", "ranges", "macs")
    outputs = ("seen",)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        return unreadable(news)

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        return CreateResult(f"lan/{inputs['cidr']}", {**inputs, "seen": query(inputs, known=())})

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        return self.read_result(id_, state)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Only what is new: at the other addresses the stack's own pods may be by now."""
        inputs = self.known(_news)
        known = _olds.get("ranges") or () if _olds.get("cidr") == inputs["cidr"] else ()
        return UpdateResult({**inputs, "seen": query(inputs, known=known)})


def query(inputs: Props, *, known: Iterable[str]) -> str:
    """What was seen, as a sentence. AddressInUseError if an unmanaged machine answers at an address that is not in `known`."""
    addresses = [address for wanted in subtract(merge(parse_all(inputs["ranges"])), parse_all(known)) for address in wanted]
    cidr = IPv4Network(inputs["cidr"])
    here = interfaces()
    if not any(address in cidr for address in here):
        sentence = f"this machine has no address in {cidr}, so nobody was asked from here; the nodes probe when they have booted"
        say(sentence)
        return sentence
    macs = {str(mac).lower() for mac in inputs["macs"]}
    others = {address: "this machine itself" for address in addresses if address in here}
    for start in range(0, min(len(addresses), MOST), BATCH):
        answers = neighbours([address for address in addresses[start : start + BATCH] if address not in others])
        others |= {address: mac for address, mac in answers.items() if mac not in macs}
    if others:
        listed = ", ".join(f"{address} ({who})" for address, who in sorted(others.items()))
        raise AddressInUseError(
            f"other machines of {cidr} answer at addresses that this stack wants for itself: {listed}. Find them and give them "
            "other addresses, or move network.nodes, those of podNetworks, k3s.virtualAddress or k3s.apiAddress, and name them in "
            "network.exclude"
        )
    return f"nobody answered at {min(len(addresses), MOST)} of {len(addresses)} addresses, asked from this machine"


def interfaces() -> list[IPv4Address]:
    """This machine's own addresses; none if `ip` (iproute2) is not there to list them."""
    return [address for link in _ip("-4", "address", "show") for address in _addresses(link)]


def has(interface: str, mac: str, address: IPv4Address) -> bool:
    """Whether this machine has an interface of this name with this MAC address and this address."""
    links = _ip("address", "show", "dev", interface)
    return any(str(link.get("address") or "").lower() == mac.lower() and address in _addresses(link) for link in links)


def _addresses(link: Mapping[str, Any]) -> list[IPv4Address]:
    return [IPv4Address(entry["local"]) for entry in link.get("addr_info", ()) if entry.get("family") == "inet"]


def neighbours(addresses: Sequence[IPv4Address]) -> dict[IPv4Address, str]:
    """MAC address of each machine that answers now, by its address. Takes about 4 s where nobody does, LIMIT at most."""
    began = time.monotonic()
    before = {IPv4Address(entry["dst"]) for entry in _ip("-4", "neigh", "show") if entry.get("lladdr")}
    answered: dict[IPv4Address, str] = {}
    pending = set(addresses)
    asking = progress(lambda: f"probing {len(pending)} addresses of the LAN")
    with asking, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while pending and time.monotonic() - began < LIMIT:
            for address in pending:
                with contextlib.suppress(OSError):  # that it is not reached is what is hoped for
                    sender.sendto(b"", (str(address), DISCARD))
            time.sleep(0.5)
            heard, silent = assess(_ip("-4", "-s", "neigh", "show"), pending, before, time.monotonic() - began)
            answered |= heard
            pending -= heard.keys() | silent
    return answered


def assess(
    entries: Iterable[Mapping[str, Any]], pending: set[IPv4Address], before: set[IPv4Address], elapsed: float
) -> tuple[dict[IPv4Address, str], set[IPv4Address]]:
    """Of the kernel's neighbours: who has answered in the last `elapsed` seconds, and at which addresses nobody does.

    The kernel forgets slowly, so one that it knew `before` counts once it was confirmed again. Ages are whole seconds,
    rounded down.
    """
    heard: dict[IPv4Address, str] = {}
    silent: set[IPv4Address] = set()
    listed = set()
    for entry in entries:
        address = IPv4Address(entry["dst"])
        if address not in pending:
            continue
        listed.add(address)
        state = set(entry.get("state", ()))
        if state & {"FAILED", "PERMANENT", "NOARP"}:  # silent, or written by somebody and not heard
            silent.add(address)
        elif entry.get("lladdr") and (address not in before or entry.get("confirmed", elapsed) + 1 <= elapsed):
            heard[address] = str(entry["lladdr"]).lower()
    if elapsed > NO_ENTRY:
        silent |= pending - listed
    return heard, silent


def _ip(*words: str) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=True, timeout=20)  # noqa: S603, S607
        entries = json.loads(done.stdout or "[]")
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


class FreeAddresses(Resource, module="libvirt", name="FreeAddresses"):
    """Addresses of a LAN at which nobody answered when the stack took them.

    Raises AddressInUseError if somebody does, with every address and MAC. Not all can be seen from here: a machine
    without an address on the LAN cannot query it, and one that is switched off does not answer.
    """

    def __init__(self, resource_name: str, args: FreeAddressesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(FreeAddressesProvider(), resource_name, properties(args, FreeAddressesProvider.outputs), opts)
