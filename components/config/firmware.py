"""By which firmware the machines boot: by the settings, and where they leave it open by the image's name. Pure."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from components.config.settings import Settings

Firmware = Literal["bios", "efi"]

# Whole words, as in Fedora-Cloud-Base-UEFI-UKI-42.qcow2, AlmaLinux-8-GenericCloud-UEFI.qcow2 and xenial-…-uefi1.img. A name that
# has one of the second kind as well is of an image for both.
_EFI = re.compile(r"(?i)(?<![a-z0-9])(?:u?efi[0-9]?|uki)(?![a-z0-9])")
_BOTH = re.compile(r"(?i)(?<![a-z0-9])(?:bios|legacy|hybrid)(?![a-z0-9])")


def firmware(settings: Settings) -> Firmware:
    """machine.firmware; with auto UEFI where the image's file name says so, else BIOS.

    No more can be known before the image is read, and what machines are made from must be known in every preview. When the image is
    read, libvirt/image_boot.py finds one that boots by the other firmware alone.
    """
    if settings.machine.firmware != "auto":
        return settings.machine.firmware
    name = urlsplit(settings.image.source).path.rpartition("/")[2]
    return "efi" if _EFI.search(name) and not _BOTH.search(name) else "bios"
