"""The firmware that a domain boots by, BIOS or UEFI: its elements, and how they are set in a definition that exists. Pure.

A domain has UEFI of this program's where its NVRAM is a file in the stack's pool. libvirt makes that from the template of the
firmware that it selects (https://libvirt.org/formatdomain.html#bios-bootloader, libvirt 7.2 and later), and removes it with the
domain. UEFI that was set by hand has its NVRAM elsewhere and is left alone as long as BIOS is wanted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import PurePosixPath

from components.libvirt.xml import child

BIOS, EFI = "bios", "efi"
SECURE = ", with secure boot"
ELEMENTS = ("firmware", "loader", "nvram")
"""Of <os>."""


def nvram_path(node: str, console_log: str, *, secure_boot: bool) -> str:
    """Where the NVRAM is: next to the console log, in the pool. With secure boot another file, made from another template."""
    return str(PurePosixPath(console_log).parent / nvram_names(node)[secure_boot])


def nvram_names(node: str) -> tuple[str, str]:
    """Names of the volume without and with secure boot."""
    return f"{node}-nvram.fd", f"{node}-nvram-secure.fd"


def words(firmware: str, *, secure_boot: bool) -> str:
    """The firmware that is wanted."""
    return f"{firmware}{SECURE if secure_boot else ''}"


def actual_words(root: ET.Element) -> str:
    """The firmware of a definition."""
    system = root.find("os")
    if system is None:
        return BIOS
    loader = system.find("loader")
    if system.get("firmware") != EFI and (loader is None or loader.get("type") != "pflash"):
        return BIOS
    features = {feature.get("name"): feature.get("enabled") for feature in system.findall("firmware/feature")}
    secure = features.get("enrolled-keys") == "yes" or (not features and loader is not None and loader.get("secure") == "yes")
    return words(EFI, secure_boot=secure)


def is_ours(root: ET.Element, node: str, console_log: str) -> bool:
    """Whether the definition has UEFI of this program's."""
    path = (root.findtext("os/nvram") or "").strip()
    return path in {nvram_path(node, console_log, secure_boot=secure) for secure in (False, True)}


def write(root: ET.Element, firmware: str, nvram: str, *, secure_boot: bool) -> None:
    """Set it in a definition that has an element <os>."""
    system = root.find("os")
    if system is None:
        system = ET.SubElement(root, "os")
    was_secure = actual_words(root).endswith(SECURE)
    system.attrib.pop("firmware", None)
    for tag in ELEMENTS:
        for element in system.findall(tag):
            system.remove(element)
    _write_smm(root, wanted=secure_boot, former=was_secure)
    if firmware != EFI:
        return
    system.set("firmware", EFI)
    features, variables = ET.Element("firmware"), ET.Element("nvram")
    child(features, "feature", enabled="yes" if secure_boot else "no", name="secure-boot")
    variables.text = nvram
    elements = [features, variables]
    if secure_boot:
        child(features, "feature", enabled="yes", name="enrolled-keys")
        elements.insert(1, ET.Element("loader", secure="yes"))  # without it libvirt before 8.6 does not guard the variables
    kind = system.find("type")
    place = 0 if kind is None else list(system).index(kind) + 1
    system[place:place] = elements


def _write_smm(root: ET.Element, *, wanted: bool, former: bool) -> None:
    """System management mode, by which secure boot keeps the guest off the firmware's variables."""
    features = root.find("features")
    if features is None:
        features = ET.SubElement(root, "features")
    smm = features.find("smm")
    if wanted:
        (ET.SubElement(features, "smm") if smm is None else smm).set("state", "on")
    elif former and smm is not None:
        features.remove(smm)
