"""UEFI on a libvirt host: whether libvirt offers a firmware for it, where the machines are to boot by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cli.findings import Finding, error, ok
from components.config.firmware import firmware
from components.config.settings import Settings
from components.libvirt import domain_spec, xml

OLDEST_VERSION = 7_002_000
"""Of libvirt, as getLibVersion counts: from when on it selects a firmware by whether that has secure boot."""
_PACKAGES = "ovmf (Debian, Ubuntu), edk2-ovmf (Fedora, Red Hat and its kin, Arch), qemu-ovmf-x86_64 (openSUSE)"
_SECURE_FILE = ("secboot", ".ms.", "-ms-")
"""What the names of firmware files with secure boot have in them, in these distributions."""


@dataclass(frozen=True, kw_only=True)
class Offers:
    """What libvirt offers for the machines' type. None where it was not queried, because they boot by BIOS."""

    efi: bool
    """It selects a UEFI firmware by itself."""
    secure_boot: bool
    """One of the files that it knows is for secure boot."""


def observe(connection: Any, config: Settings) -> Offers | None:
    """What this host offers, where the machines need it."""
    if firmware(config) == "bios":
        return None
    kind = domain_spec.virt_type_used(connection, config.machine.virt_type)
    return offers(connection.getDomainCapabilities(None, "x86_64", config.machine.machine_type, kind))


def offers(capabilities: str) -> Offers:
    """capabilities: of a domain, as libvirt reports them (https://libvirt.org/formatdomaincaps.html#bios-bootloader)."""
    root = xml.parse(capabilities)
    kinds = {value.text for value in root.findall("os/enum[@name='firmware']/value")}
    secure = {value.text for value in root.findall("os/loader/enum[@name='secure']/value")}
    files = [value.text or "" for value in root.findall("os/loader/value")]
    return Offers(
        efi="efi" in kinds,
        secure_boot="yes" in secure and any(part in path for path in files for part in _SECURE_FILE),
    )


def assess(offered: Offers | None, version: int, config: Settings) -> list[Finding]:
    """version: of libvirt, as getLibVersion counts."""
    if offered is None:
        return []
    secure = config.machine.secure_boot
    why = "the machines are to boot by UEFI (machine.firmware, or the name of the image)"
    if version < OLDEST_VERSION:
        needed = f"libvirt is {_text(version)}, and to select a UEFI firmware by what it has needs {_text(OLDEST_VERSION)}"
        return [error("firmware", needed, why, "upgrade the host; or machine.firmware: bios with an image that boots by it")]
    if not offered.efi:
        return [error("firmware", "libvirt offers no UEFI firmware", why, f"install on the host the package {_PACKAGES}")]
    if secure and not offered.secure_boot:
        return [
            error(
                "firmware",
                "libvirt offers no UEFI firmware with secure boot",
                "machine.secureBoot requires it",
                f"install on the host the package {_PACKAGES}; or machine.secureBoot: false",
            )
        ]
    return [ok("firmware", f"libvirt offers UEFI{' with secure boot' if secure else ''}")]


def _text(version: int) -> str:
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
