"""What can be said from outside about a guest that does not answer: its state, its lease, its console, and what they mean."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from components.libvirt import domain_agent, domain_firmware, domain_spec, domain_xml, volume_store
from components.libvirt.connection import connect, find
from components.libvirt.leases import leases

_STATES = ("no state", "running", "blocked", "paused", "shutting down", "shut off", "crashed", "suspended")
RUNNING = 1
CONSOLE_LINES = 15
CONSOLE_TAIL = 65536
"""Bytes of the console that are read."""
IDLE = 0.2
"""Share of one CPU below which a guest waits. A firmware that has found nothing to boot took 0.00 to 0.05 under plain emulation, a
kernel that boots takes all it gets."""
IDLE_SECONDS = 1.0

# What a guest's own scripts say of it on its console (lan-check.sh, sshd-port.sh).
_SAID = ("is in use: ", "ssh.port: ")


@dataclass(frozen=True)
class Sign:
    """Words on a console by which a boot that ended is recognized."""

    pattern: str
    """Regular expression for them, which matches upper and lower case."""
    meaning: str
    """What they mean and what to do."""
    before_kernel: bool = False
    """Whether it counts for nothing once a kernel starts: a firmware and its boot loader try one thing after another."""


SIGNS = (
    Sign(
        r"no bootable device|boot failed: not a bootable disk|not a bootable disk",
        "The firmware (BIOS) found no boot loader on the disk. The image is made for UEFI alone: set machine.firmware: efi. Or it "
        "is no disk image of a system: image.source",
        before_kernel=True,
    ),
    Sign(
        r"(?:failed to (?:load|start) Boot|Failed to load image).*(?:Access Denied|Security Violation)|"
        r"Verification failed: \(0x1A\)|bad shim signature",
        "The firmware (UEFI with secure boot) does not start what is on the disk, because it is not signed with a key that it has: "
        "set machine.secureBoot: false, or take an image that is signed (image.source)",
        before_kernel=True,
    ),
    Sign(
        r"UEFI Interactive Shell|BdsDxe: (?:failed to (?:load|start) Boot|No bootable option)|Shell> *$",
        "The firmware (UEFI) found no boot loader on the disk. The image is made for BIOS alone: set machine.firmware: bios. Or it "
        "has an EFI system partition without a loader in EFI/BOOT, or is no disk image of a system: image.source",
        before_kernel=True,
    ),
    Sign(
        r"grub rescue>|error: (?:no such (?:partition|device)|unknown filesystem|disk .* not found|file .* not found)|^grub>",
        "The boot loader (GRUB) does not find its files or the kernel: the image is damaged or not whole. Download it again "
        "and compare its checksum (image.source, image.checksum)",
        before_kernel=True,
    ),
    Sign(
        r"unable to mount root fs|cannot open root device|dropping to a shell!|dracut-initqueue.*(?:timeout|timed out)|"
        r"warning: /dev/disk/\S+ does not exist|\(initramfs\)|could not boot\.",
        "The kernel runs and does not find the root file system: its initramfs has no driver for the virtio disk, or the boot "
        "loader names another disk. Take an image made for KVM (image.source)",
    ),
    Sign(
        r"kernel panic - not syncing",
        "The kernel gave up. The lines before say why; out of memory: servers.memory, agents.memory. An illegal instruction "
        "or a CPU feature: machine.cpuMode",
    ),
    Sign(
        r"emergency mode|rescue mode|root account is locked|give root password for maintenance",
        "systemd stopped in emergency mode: a file system or unit of the image, or one of cloudInit (mounts, fs_setup), "
        "failed. The lines before name it",
    ),
    Sign(
        r"out of memory: killed process|oom-kill:",
        "The guest has too little memory: servers.memory, agents.memory",
    ),
    Sign(
        r"datasourcenone|used fallback datasource",
        "cloud-init has not found the disk with its data, so there is no user and no key of ours: the image's cloud-init "
        "lacks the data source NoCloud (datasource_list), or its kernel the virtio disk",
    ),
)

BOOTED = re.compile(r"(?im) login:\s*$|cloud-init v\. \S+ finished|reached target .*(?:multi-user|cloud-init target)")
_KERNEL = re.compile(r"(?m)^\[ *\d+\.\d+\]|Linux version ")


def meaning(console: str, *, virt_type: str, port: int) -> str:
    """What the console of a guest that does not answer means, "" where it says nothing. Of several signs the last counts.

    virt_type: kvm or qemu, as the domain runs. port: of its SSH server, as set.
    """
    kernel = max((match.end() for match in _KERNEL.finditer(console)), default=0)
    signs = [
        (match.end(), sign)
        for sign in SIGNS
        for match in re.finditer(sign.pattern, console, re.IGNORECASE | re.MULTILINE)
        if match.end() > kernel or not sign.before_kernel
    ]
    if signs:
        return max(signs, key=lambda end_and_sign: (end_and_sign[0], -SIGNS.index(end_and_sign[1])))[1].meaning + "."
    if BOOTED.search(console):
        return (
            "The guest has booted, so the way to it is what fails: its address (see the lease above), a firewall in the "
            f"image, or an SSH server that does not listen on port {port} (ssh.port)."
        )
    if not _KERNEL.search(console) and virt_type == "kvm":
        return (
            "The console stops before the kernel starts. With KVM that is what a /dev/kvm does that exists and does not work "
            "(a CPU that is virtual itself): set machine.virtType: qemu."
        )
    if not _KERNEL.search(console) and console.strip():
        return (
            "The console stops before the kernel starts. Seen once in ten boots on a busy machine: reset the domain (virsh "
            "reset), or raise timeouts.boot."
        )
    return ""


def silent(*, virt_type: str, load: float | None, firmware: str = domain_firmware.BIOS) -> str:
    """What it means that a guest that runs has written nothing. load: share of one CPU it takes, None if not measured. firmware: as
    the domain's definition has it.

    The BIOS itself writes nothing: it has no graphics here, and uses a serial port only if it is configured to. UEFI writes.
    """
    waits = "" if load is None else ", and its CPUs wait"
    if (load is None or load < IDLE) and firmware != domain_firmware.BIOS:
        return (
            f"The guest runs, has written nothing{waits}: its firmware ({firmware}) writes to a serial port by itself, so either "
            "it does not start, or the console log is not its port's. Reset the domain (virsh reset), or set machine.firmware: "
            "bios."
        )
    if load is None or load < IDLE:
        return (
            f"The guest runs, has written nothing{waits}: most likely its firmware (BIOS) found nothing to boot from, because "
            "the image is made for UEFI alone (set machine.firmware: efi) or is no disk image of a system (image.source). Else its "
            "kernel has no console on ttyS0."
        )
    if virt_type == "kvm":
        return (
            f"The guest runs, has written nothing and takes {load:.0%} of a CPU. With KVM that is what a /dev/kvm does that "
            "exists and does not work (a CPU that is virtual itself): set machine.virtType: qemu."
        )
    return (
        f"The guest runs, has written nothing and takes {load:.0%} of a CPU: it boots, without a console on ttyS0, or hangs "
        "before its kernel starts. Raise timeouts.boot, or reset the domain (virsh reset)."
    )


def diagnose(uri: str, uuid: str, *, console_pool: str, console_name: str, network: str | None, mac: str, port: int = 22) -> str:
    """What can be said from outside about a guest that does not answer: state, lease, end of its console, meaning. Never raises.

    console_name: the log's name as a volume of console_pool. network: None for a bridge, whose leases libvirt does not
    know. port: where its SSH server is to listen.
    """
    lines: list[str] = []
    try:
        with connect(uri) as connection:
            reports: list[Callable[[], str]] = [
                functools.partial(_say_state, connection, uuid),
                functools.partial(_say_lease, connection, network, mac),
                functools.partial(_say_agent, connection, uuid),
                functools.partial(_say_console, connection, uuid, (console_pool, console_name), port),
            ]
            for report in reports:
                try:
                    lines += filter(None, [report()])
                except Exception as error:
                    lines.append(f"(not seen: {error})")
    except Exception as error:
        lines.append(str(error))
    return "\n".join(lines)


def _say_state(connection: Any, uuid: str) -> str:
    domain = find(connection.lookupByUUIDString, uuid)
    if domain is None:
        return f"Domain {uuid} does not exist."
    state, reason = domain.state(0)
    word = _STATES[state] if state < len(_STATES) else str(state)
    return f"Domain {domain.name()} is {word} (reason {reason})."


def _say_lease(connection: Any, network: str | None, mac: str) -> str:
    if network is None:
        return "The guest is on a bridge; libvirt knows no leases there."
    live_network = find(connection.networkLookupByName, network)
    if live_network is None:
        return f"Network {network} does not exist."
    ours = [lease for lease in leases(live_network) if lease.mac == mac.lower()]
    if not ours:
        return f"Network {network} has given no address to {mac}: the guest has not requested one."
    return "; ".join(f"{mac} has address {lease.address} on network {network}" for lease in ours) + "."


def _say_agent(connection: Any, uuid: str) -> str:
    """What the guest itself says of its addresses, if an agent answers in it: also of those that no DHCP server knows."""
    import libvirt  # noqa: PLC0415

    domain = find(connection.lookupByUUIDString, uuid)
    if domain is None or not domain.isActive() or not domain_agent.answers(domain.XMLDesc(0)):
        return ""
    interfaces = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
    shown_interfaces = [
        f"{name} ({facts.get('hwaddr') or 'no MAC'}) {', '.join(address['addr'] for address in facts.get('addrs') or ()) or 'none'}"
        for name, facts in sorted(interfaces.items())
        if name != "lo"
    ]
    return f"Its guest agent answers; addresses in the guest: {'; '.join(shown_interfaces) or 'none'}."


def clean(console: str) -> str:
    """The console without what moves a cursor or sets a colour."""
    text = re.sub(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[a-zA-Z])", "", console.replace("\r", ""))
    return "".join(character for character in text if character == "\n" or character.isprintable())


def console_lines(text: str) -> list[str]:
    """The last lines of a console, and before them whatever the guest said of an address or a port that it cannot have."""
    lines = [line.rstrip() for line in clean(text).splitlines() if line.strip()]
    return [line for line in lines[:-CONSOLE_LINES] if any(words in line for words in _SAID)] + lines[-CONSOLE_LINES:]


def _say_console(connection: Any, uuid: str, log: Sequence[str], port: int) -> str:
    pool_name, name = log
    pool = find(connection.storagePoolLookupByName, pool_name)
    if pool is None or not pool.isActive():
        return f"Pool {pool_name} with the console log {name} is not there."
    volume_store.refresh(pool)
    volume = volume_store.volume_named(pool, name)
    if volume is None:
        return f"There is no console log {name} in pool {pool_name}."
    size = volume.info()[1]
    tail = volume_store.fetch(connection, volume, offset=max(0, size - CONSOLE_TAIL)).decode("utf-8", "replace")
    domain = find(connection.lookupByUUIDString, uuid)
    runs = domain is not None and domain.isActive()
    document = domain.XMLDesc(0) if domain is not None else "<domain/>"
    virt_type, firmware = domain_spec.read_domain(document).virt_type, domain_firmware.actual_words(domain_xml.parse(document))
    lines = console_lines(tail)
    where = f"Console log: {volume.path()} on {connection.getHostname()}"
    if not lines:
        said = silent(virt_type=virt_type, load=_load(domain), firmware=firmware) if runs else ""
        return f"{where}: empty, the guest has written nothing." + (f"\n{said}" if said else "")
    means = meaning(clean(tail), virt_type=virt_type, port=port)
    return "\n".join([f"{where}, last lines:", *(f"  {line}" for line in lines), *([means] if means else [])])


def _load(domain: Any) -> float | None:
    """Share of one CPU that a running domain takes, over IDLE_SECONDS."""
    began, before = time.monotonic(), domain.info()[4]
    time.sleep(IDLE_SECONDS)
    after, elapsed = domain.info()[4], time.monotonic() - began
    return float(max(after - before, 0) / 1e9 / elapsed)
