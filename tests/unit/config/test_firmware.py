"""By which firmware machines boot: by the setting, or by the image's name."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import plan
from components.config.firmware import firmware
from components.config.problems import SettingsError
from components.config.reading import parse

pytestmark = pytest.mark.unit

DIGEST = f"sha256:{'0' * 64}"


def of(name: str, **machine: Any) -> str:
    settings = parse("dev", {"image": {"source": f"https://images.example/x/{name}", "checksum": DIGEST}, "machine": machine})
    assert plan.image_plan(settings).firmware == firmware(settings)
    return firmware(settings)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("debian-12-genericcloud-amd64-20260923-2610.qcow2", "bios"),
        ("ubuntu-24.04-server-cloudimg-amd64.img", "bios"),
        ("AlmaLinux-9-GenericCloud-9.6-20250522.x86_64.qcow2", "bios"),
        ("Fedora-Cloud-Base-Generic-42-1.1.x86_64.qcow2", "bios"),
        ("Fedora-Cloud-Base-UEFI-UKI-42-1.1.x86_64.qcow2", "efi"),
        ("AlmaLinux-8-GenericCloud-UEFI-latest.x86_64.qcow2", "efi"),
        ("xenial-server-cloudimg-amd64-uefi1.img", "efi"),
        ("mine.efi.raw?token=1", "efi"),
        ("mine-bios-uefi.qcow2", "bios"),
        ("mine-uefi-hybrid.qcow2", "bios"),
        ("prefix-briefing.qcow2", "bios"),
    ],
)
def test_auto_follows_words_of_the_file_s_name(name: str, expected: str) -> None:
    assert of(name) == expected


def test_the_folder_does_not_count_and_the_setting_does() -> None:
    assert of("uefi/debian.qcow2") == "bios"
    assert of("debian.qcow2", firmware="efi") == "efi" and of("debian-uefi.qcow2", firmware="bios") == "bios"


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"secureBoot": True}, ["machine.secureBoot", "needs the firmware that has it; set firmware: efi"]),
        ({"secureBoot": True, "firmware": "bios"}, ["set firmware: efi"]),
        ({"secureBoot": True, "firmware": "efi", "machineType": "pc"}, ["which pc has not; take machineType: q35"]),
        ({"secureBoot": True, "machineType": "pc-i440fx-7.2"}, ["set firmware: efi", "which pc-i440fx-7.2 has not"]),
        ({"firmware": "uefi"}, ["machine.firmware", "'auto', 'bios' or 'efi'"]),
    ],
)
def test_secure_boot_needs_what_has_it(machine: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse("dev", {"machine": machine})
    assert all(word in str(caught.value) for word in words), caught.value
    parse("dev", {"machine": {"secureBoot": True, "firmware": "efi", "machineType": "pc-q35-7.2"}})
