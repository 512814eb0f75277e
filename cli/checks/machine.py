"""This machine: its routes and neighbours, whether its bridges are filtered, and the way to the pool's directory."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from cli.checks.tools import run_json
from cli.findings import Finding, Findings, error, ok, unknown, warning
from components.config.addresses import AddressRange

# libvirt's virt-aa-helper refuses disks below these (src/security/virt-aa-helper.c, valid_path).
CONFINED = ("/bin", "/etc", "/lib", "/lost+found", "/proc", "/sbin", "/selinux", "/sys", "/usr/bin", "/usr/lib", "/usr/sbin")


# --- routes ---


def routes(cidr: IPv4Network, bridge: str, *, local: bool) -> Findings:
    """Whether this machine reaches the network by one way only, and as a neighbour."""
    table = run_json("ip", "-j", "-4", "route", "show", "table", "all")
    if not isinstance(table, list):
        yield unknown(
            "routes", "`ip route` could not be read", "two ways to one subnet take packets elsewhere", "apt install iproute2"
        )
        return
    yield assess_routes(table, cidr, bridge, local=local)


def assess_routes(table: Iterable[Mapping[str, Any]], cidr: IPv4Network, bridge: str, *, local: bool) -> Finding:
    """bridge: the network's, empty if it is not known. local: the hypervisor is this machine."""
    direct, other_routes = [], []
    for route in table:
        if route.get("type", "unicast") != "unicast" or route.get("dst") in (None, "default"):
            continue
        target = IPv4Network(route["dst"], strict=False)
        if not target.overlaps(cidr):
            continue
        device = str(route.get("dev", "?"))
        if target == cidr and "gateway" not in route and (not local or not bridge or device == bridge):
            direct.append(device)
        elif target.prefixlen >= cidr.prefixlen or target == cidr:
            other_routes.append(f"{route['dst']} by {device}" + (f" via {route['gateway']}" if "gateway" in route else ""))
    if other_routes or len(set(direct)) > 1:
        ways = ", ".join([*other_routes, *(f"{cidr} by {device}" for device in sorted(set(direct)))])
        return error(
            "routes",
            f"this machine has more than one way into {cidr}, or one next to the network's bridge: {ways}",
            "packets for nodes and pods leave by the wrong interface (a VM inside a VM often has the same 192.168.122.0/24)",
            "give one of the two networks another subnet (virsh net-edit, then network.cidr and the ranges), or remove the route",
        )
    if not direct:
        return warning(
            "routes",
            f"this machine has no interface on {cidr}",
            "the proof at the end of `up` requests the page from here, and SSH and the API are reached from here",
            "start the libvirt network; from a machine that is no neighbour: proof.enabled: false, and a route to the nodes",
        )
    return ok("routes", f"{cidr} is reached by {direct[0]} alone")


# --- neighbours ---


def neighbours(bridge: str, ranges: Sequence[AddressRange], macs: Iterable[str], *, running: bool) -> Findings:
    """Machines that this one has lately met at addresses the stack takes for itself; of a stack that runs, pods have them."""
    entries = run_json("ip", "-j", "-4", "neigh", "show", *(("dev", bridge) if bridge else ()))
    if running or not isinstance(entries, list):
        return
    yield assess_neighbours(entries, ranges, macs)


def assess_neighbours(entries: Iterable[Mapping[str, Any]], ranges: Sequence[AddressRange], macs: Iterable[str]) -> Finding:
    stack_macs = {mac.lower() for mac in macs}
    unmanaged = [
        f"{entry['dst']} ({entry['lladdr']})"
        for entry in entries
        if entry.get("lladdr")
        and str(entry["lladdr"]).lower() not in stack_macs
        and not set(entry.get("state", ())) & {"FAILED", "NOARP", "PERMANENT"}
        and any(IPv4Address(entry["dst"]) in range_ for range_ in ranges)
    ]
    if unmanaged:
        return warning(
            "addresses",
            f"this machine has lately met machines at addresses of the stack: {', '.join(unmanaged)}",
            "an address in use elsewhere answers from two machines in turn",
            "find them; or move network.nodes or podNetworks.NETWORK.range, or name them in network.exclude",
        )
    return ok("addresses", "this machine has met nobody at the stack's addresses")


# --- a bridge of the host ---


def bridge_device(name: str, system: Path = Path("/sys/class/net")) -> Finding:
    """Whether the host has this bridge, up and with a port."""
    folder = system / name
    if not (folder / "bridge").is_dir():
        return error(
            "network",
            f"this machine has no bridge {name}",
            "network.kind is bridge: machines are connected to a bridge of the host",
            "make it with the host's network configuration (netplan, ifupdown, nmcli), with the NIC as its port; or network.name",
        )
    ports = sorted(port.name for port in (folder / "brif").iterdir()) if (folder / "brif").is_dir() else []
    if (folder / "operstate").read_text(encoding="ascii").strip() == "down" or not ports:
        return warning(
            "network",
            f"bridge {name} is down or has no port ({', '.join(ports) or 'none'})",
            "machines on it reach nobody else",
            f"ip link set {name} up; give it the NIC as a port",
        )
    return ok("network", f"bridge {name} has the ports {', '.join(ports)}")


# --- bridged frames ---


def bridged_frames(proc: Path = Path("/proc/sys/net/bridge")) -> Findings:
    """Whether frames between machines of one bridge pass the IP firewall, as they do where Docker has loaded br_netfilter."""
    try:
        filtered = (proc / "bridge-nf-call-iptables").read_text(encoding="ascii").strip() == "1"
    except OSError:
        filtered = False
    yield assess_bridged_frames(filtered, forward_policy() if filtered else "")


def forward_policy() -> str:
    """ACCEPT or DROP; empty if it cannot be read (it takes root)."""
    program = shutil.which("iptables") or shutil.which("iptables", path="/usr/sbin:/sbin")
    if program is None:
        return ""
    completed = subprocess.run([program, "-S", "FORWARD"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    return completed.stdout.partition("-P FORWARD ")[2].partition("\n")[0]


def assess_bridged_frames(filtered: bool, policy: str) -> Finding:
    if not filtered or policy == "ACCEPT":
        return ok("bridge filter", "no firewall drops frames between machines of one bridge")
    observed = f"net.bridge.bridge-nf-call-iptables is 1, and the FORWARD chain's policy is {policy or 'not readable without root'}"
    why = "frames between machines of a bridge pass that chain: with DROP (Docker's) others than the hypervisor miss the pods"
    fix = "sysctl -w net.bridge.bridge-nf-call-iptables=0, or iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT"
    return warning("bridge filter", observed, why, fix) if policy else unknown("bridge filter", observed, why, fix)


# --- the pool's directory ---


@dataclass(frozen=True, kw_only=True)
class Directory:
    """The pool's directory, or one above it."""

    path: str
    mode: int
    """Its permission bits."""


def pool_path(path: str, *, root_qemu: bool, models: Sequence[str]) -> Findings:
    """Whether QEMU's user may reach the pool. models: libvirt's security drivers."""
    directories = []
    for directory in [Path(path), *Path(path).parents]:
        try:
            directories.append(Directory(path=str(directory), mode=stat.S_IMODE(directory.stat().st_mode)))
        except OSError:
            continue
    yield from assess_pool_path(path, directories, root_qemu=root_qemu, models=models)


def assess_pool_path(path: str, directories: Iterable[Directory], *, root_qemu: bool, models: Sequence[str]) -> Findings:
    closed = [f"{directory.path} ({directory.mode:04o})" for directory in directories if not directory.mode & stat.S_IXOTH]
    # libvirt makes its own directories with 0711 or owns them; directories that are closed below a home or /root are the user's.
    if closed and not root_qemu:
        yield error(
            "pool path",
            f"others may not pass {', '.join(closed)}",
            "QEMU runs as a user of its own and opens the disks by their path",
            f"chmod o+x {closed[-1].split(' ')[0]}, or another hypervisors.*.poolDirectory, such as /var/lib/libvirt/images",
        )
    below = next((folder for folder in CONFINED if path == folder or path.startswith(f"{folder}/")), None)
    if "apparmor" in models and below:
        yield error(
            "pool path",
            f"{path} is below {below}, and libvirt confines QEMU by AppArmor",
            "its helper refuses disks there, so no machine starts",
            "another hypervisors.*.poolDirectory, such as /var/lib/libvirt/images",
        )
    elif not closed or root_qemu:
        confined = f"; confined by {', '.join(models)}" if models else ""
        yield ok("pool path", f"QEMU can reach {path}{confined}")


def qemu_is_root(conf: Path = Path("/etc/libvirt/qemu.conf")) -> bool:
    """Whether libvirt's QEMU runs as root on this machine."""
    try:
        lines = conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(
        line.replace(" ", "").replace("'", '"').startswith('user="root"') or line.replace(" ", "") == "user=0" for line in lines
    )


def kvm_device(path: str = "/dev/kvm") -> str:
    """absent, closed (this user may not open it) or there."""
    if not Path(path).exists():
        return "absent"
    return "there" if os.access(path, os.R_OK | os.W_OK) else "closed"
