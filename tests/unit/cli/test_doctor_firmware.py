"""Doctor on UEFI: libvirt's own answers, and what is said of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli.checks import firmware
from cli.checks.firmware import Offers
from components.config.reading import parse
from components.config.settings import Settings

pytestmark = pytest.mark.unit

# libvirt 9.0 on Debian 12 with the package ovmf, shortened; and as it is without.
DEBIAN = """<domainCapabilities><os supported='yes'><enum name='firmware'><value>efi</value></enum><loader supported='yes'>
<value>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</value><value>/usr/share/OVMF/OVMF_CODE_4M.secboot.fd</value>
<value>/usr/share/OVMF/OVMF_CODE_4M.fd</value><enum name='type'><value>rom</value><value>pflash</value></enum>
<enum name='secure'><value>yes</value><value>no</value></enum></loader></os></domainCapabilities>"""
WITHOUT = """<domainCapabilities><os supported='yes'><enum name='firmware'/><loader supported='yes'>
<enum name='type'><value>rom</value></enum><enum name='secure'><value>no</value></enum></loader></os></domainCapabilities>"""
PLAIN = """<domainCapabilities><os supported='yes'><enum name='firmware'><value>efi</value></enum><loader supported='yes'>
<value>/usr/share/edk2/ovmf/OVMF_CODE.fd</value><enum name='secure'><value>no</value></enum></loader></os></domainCapabilities>"""
NEW = 9_000_000


def config(**machine: Any) -> Settings:
    return parse("dev", {"machine": machine})


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (DEBIAN, Offers(efi=True, secure_boot=True)),
        (WITHOUT, Offers(efi=False, secure_boot=False)),
        (PLAIN, Offers(efi=True, secure_boot=False)),
        ("<domainCapabilities/>", Offers(efi=False, secure_boot=False)),
    ],
)
def test_what_libvirt_offers(capabilities: str, expected: Offers) -> None:
    assert firmware.offers(capabilities) == expected


@pytest.mark.parametrize(
    ("machine", "capabilities", "version", "level", "words"),
    [
        ({"firmware": "efi"}, DEBIAN, NEW, "ok", "libvirt offers UEFI"),
        ({"firmware": "efi", "secureBoot": True}, DEBIAN, NEW, "ok", "with secure boot"),
        ({"firmware": "efi"}, WITHOUT, NEW, "error", "offers no UEFI firmware"),
        (
            {"firmware": "efi"},
            DEBIAN,
            7_001_000,
            "error",
            "libvirt is 7.1.0, and to select a UEFI firmware by what it has needs 7.2.0",
        ),
        ({"firmware": "efi", "secureBoot": True}, DEBIAN, 7_001_000, "error", "needs 7.2.0"),
        ({"firmware": "efi", "secureBoot": True}, PLAIN, NEW, "error", "no UEFI firmware with secure boot"),
    ],
)
def test_what_is_said_of_it(machine: dict[str, Any], capabilities: str, version: int, level: str, words: str) -> None:
    (finding,) = firmware.assess(firmware.offers(capabilities), version, config(**machine))
    assert finding.level == level and words in finding.observed
    if level == "error":
        assert finding.why and finding.fix
    if "offers no" in finding.observed:
        assert all(package in finding.fix for package in ("ovmf (Debian", "edk2-ovmf (Fedora", "qemu-ovmf-x86_64 (openSUSE"))


def test_for_machines_that_boot_by_bios_nothing_is_queried() -> None:
    """A query of a domain's capabilities may begin programs on the host."""
    connection = SimpleNamespace()  # without any method
    assert firmware.observe(connection, config()) is None and firmware.assess(None, 1, config()) == []


@pytest.mark.parametrize(("kind", "queried"), [("auto", "qemu"), ("kvm", "kvm")])
def test_the_machines_own_type_is_queried(kind: str, queried: str) -> None:
    queries: list[tuple[object, ...]] = []

    def capabilities(*query: object) -> str:
        queries.append(query)
        return DEBIAN

    connection = SimpleNamespace(getCapabilities=lambda: "<capabilities/>", getDomainCapabilities=capabilities)
    assert firmware.observe(connection, config(firmware="efi", virtType=kind)) == Offers(efi=True, secure_boot=True)
    assert queries == [(None, "x86_64", "q35", queried)]
