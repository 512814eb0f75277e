"""BIOS and UEFI in a definition: written, changed, recognized, and left alone where hands have set it."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from provider.resource_inputs import domain_inputs
from provider.sandbox import Sandbox

from components.libvirt import domain_additions, domain_edit, domain_firmware, domain_spec, domain_xml
from components.libvirt.domain import DomainProvider

from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit

BIOS = SPEC
EFI = dataclasses.replace(SPEC, firmware="efi")
SECURE = dataclasses.replace(SPEC, firmware="efi", secure_boot=True)
SPECS = {"bios": BIOS, "efi": EFI, "efi, with secure boot": SECURE}
# As libvirt 9 completes a definition when it has selected a firmware.
COMPLETED = (
    '<loader readonly="yes" secure="no" type="pflash">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>'
    '<nvram template="/usr/share/OVMF/OVMF_VARS_4M.fd">'
)
BY_HAND = (
    "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
    "<nvram>/var/lib/libvirt/qemu/nvram/node-1_VARS.fd</nvram>"
)


def system(document: str) -> str:
    element = domain_xml.parse(document).find("os")
    assert element is not None
    return ET.tostring(element, encoding="unicode")


def differences(document: str, spec: domain_spec.DomainSpec) -> list[str]:
    return [str(change) for change in domain_edit.differences(document, spec)]


def test_the_elements() -> None:
    assert "firmware" not in system(domain_spec.domain(BIOS)) and "nvram" not in domain_spec.domain(BIOS)
    assert system(domain_spec.domain(EFI)) == (
        '<os firmware="efi"><type arch="x86_64" machine="q35">hvm</type><firmware><feature enabled="no" name="secure-boot" />'
        '</firmware><nvram>/pool/node-1-nvram.fd</nvram><boot dev="hd" /></os>'
    )
    secure = domain_spec.domain(SECURE)
    assert '<feature enabled="yes" name="secure-boot" /><feature enabled="yes" name="enrolled-keys" /></firmware>' in system(secure)
    assert '<loader secure="yes" /><nvram>' in system(secure) and "loader" not in system(domain_spec.domain(EFI))
    assert "/pool/node-1-nvram-secure.fd" in secure and '<smm state="on" />' in secure
    assert "smm" not in domain_spec.domain(EFI)


@pytest.mark.parametrize("before", SPECS)
@pytest.mark.parametrize("after", SPECS)
def test_each_becomes_the_other_by_a_restart(before: str, after: str) -> None:
    document = domain_spec.domain(SPECS[before])
    changes = [] if before == after else [f"firmware: {before}, not {after}"]
    assert differences(document, SPECS[after]) == changes
    assert [str(change) for change in domain_edit.restarts(document, document, SPECS[after])] == changes
    edited = domain_edit.edit(document, SPECS[after])
    assert differences(edited, SPECS[after]) == [] and system(edited) == system(domain_spec.domain(SPECS[after]))
    assert ("<smm" in edited) == SPECS[after].secure_boot
    assert domain_additions.unmanaged(edited, SPECS[after]) == []


def test_what_libvirt_adds_is_no_difference_and_no_addition() -> None:
    document = domain_spec.domain(EFI).replace("<nvram>", COMPLETED)
    assert differences(document, EFI) == [] and domain_edit.edit(document, EFI) == document
    assert domain_additions.unmanaged(document, EFI) == []
    assert "OVMF" not in domain_edit.edit(document, BIOS)


@pytest.mark.parametrize("attribute", ["", " firmware='efi'"])
def test_uefi_that_was_set_by_hand_stays(attribute: str) -> None:
    document = domain_spec.domain(BIOS).replace("<os>", f"<os{attribute}>").replace("<boot ", f"{BY_HAND}<boot ")
    assert differences(document, BIOS) == [] and system(domain_edit.edit(document, BIOS)) == system(document)
    named = ["os firmware"] if attribute else []
    assert domain_additions.unmanaged(document, BIOS) == [*named, "os loader", "os nvram"]
    assert differences(document, EFI) == [], "it is what the setting requires"
    assert differences(document, SECURE) == ["firmware: efi, not efi, with secure boot"]


def test_a_boot_menu_set_by_hand_is_kept() -> None:
    document = domain_spec.domain(BIOS).replace("<boot ", "<bootmenu enable='yes'/><boot ")
    edited = domain_edit.edit(document, EFI)
    assert "bootmenu" in edited and domain_additions.unmanaged(edited, EFI) == ["os bootmenu"]
    assert "bootmenu" in domain_edit.edit(edited, BIOS)


def test_a_definition_without_the_usual_elements() -> None:
    root = domain_xml.parse("<domain><name>n</name></domain>")
    assert domain_firmware.actual_words(root) == "bios"
    domain_firmware.write(root, "efi", "/pool/n.fd", secure_boot=False)
    assert domain_firmware.actual_words(root) == "efi"


# --- the resource

SANDBOX = Sandbox("qemu:///system")


def inputs(**change: Any) -> dict[str, Any]:
    return {**domain_inputs(SANDBOX), **change}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({}, {"firmware": "efi"}, "boots by efi from now on, by bios until now"),
        ({"firmware": "efi"}, {}, "boots by bios from now on, by efi until now"),
        ({"firmware": "efi"}, {"firmware": "efi", "secure_boot": True}, "boots by efi, with secure boot from now on, by efi until"),
    ],
)
def test_a_preview_says_that_the_machine_is_restarted_with_its_disk(
    old: dict[str, Any], new: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("components.libvirt.domain.remark", said.append)
    change = DomainProvider().diff("id", inputs(**old), inputs(**new))
    assert change.changes and not change.replaces
    assert len(said) == 1 and words in said[0] and "with the disk that it has" in said[0]


def test_settings_that_are_not_used_change_nothing() -> None:
    """Of a machine of a former release, whose state has no such input."""
    news = DomainProvider().check(inputs(), {**inputs(), "firmware": None, "secure_boot": None, "guest_agent": None}).inputs
    assert not DomainProvider().diff("id", inputs(), news).changes


def test_another_firmware_is_refused() -> None:
    assert [failure.property for failure in DomainProvider().check({}, inputs(firmware="uefi")).failures] == ["firmware"]
