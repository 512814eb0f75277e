"""By which firmware an image boots, as its first sectors show it."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from components.libvirt.image_boot import BYTES, first_bytes, only_firmware

pytestmark = pytest.mark.unit

ESP = "28732ac11ff8d211ba4b00a0c93ec93b"
BIOS_BOOT = b"Hah!IdontNeedEFI".hex()
LINUX = "af3dc60f838472478e793d69d8477de4"
BASIC_DATA = "a2a0d0ebe5b9334487c068b6b72699c7"
CLUSTER = 1 << 16


def mbr(*types: int, code: bytes = b"") -> bytes:
    table = b"".join(bytes(4) + bytes([kind]) + bytes(11) for kind in types).ljust(64, b"\0")
    return code.ljust(446, b"\0") + table + b"\x55\xaa"


def gpt(*types: str, code: bytes = b"") -> bytes:
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 128, 128)
    entries = b"".join(bytes.fromhex(kind).ljust(128, b"\x01") for kind in types)
    return (mbr(0xEE, code=code) + header.ljust(512, b"\0") + entries).ljust(BYTES, b"\0")


GRUB = b"\xeb\x63\x90" + b"GRUB"
DISKS = {
    "Debian and Ubuntu: for both": (gpt(LINUX, BIOS_BOOT, ESP, code=GRUB), ""),
    "UEFI alone": (gpt(ESP, LINUX), "efi"),
    "UEFI alone, on an MBR": (mbr(0xEF, 0x83), "efi"),
    "BIOS alone": (mbr(0x83, code=GRUB), "bios"),
    "BIOS alone, on a GPT": (gpt(LINUX, BIOS_BOOT, code=GRUB), "bios"),
    "FAT, which UEFI looks into": (mbr(0x0C, 0x83, code=GRUB), ""),
    "FAT on a GPT": (gpt(BASIC_DATA, LINUX, code=GRUB), ""),
    "neither": (mbr(0x83), ""),
    "no partitions": (mbr(code=GRUB), ""),
    "no table": (bytes(BYTES), ""),
    "a file system on the whole disk": (b"\x07" * BYTES, ""),
    "cut off before the GPT": (gpt(ESP, LINUX)[:600], ""),
    "a GPT that is none": (mbr(0xEE).ljust(BYTES, b"\0"), ""),
}


@pytest.mark.parametrize("name", DISKS)
def test_what_the_first_sectors_show(name: str) -> None:
    head, expected = DISKS[name]
    assert only_firmware(head) == expected


def qcow2(head: bytes, *, compressed: bool = False, features: int = 0, allocated: bool = True) -> bytes:
    """A file with one cluster: header, first table, second table, the cluster."""
    data = head.ljust(CLUSTER, b"\0")
    entry = 3 * CLUSTER
    if compressed:
        stream = zlib.compressobj(wbits=-12)
        data = stream.compress(data) + stream.flush()
        entry += 100  # where compressed clusters begin is anywhere
        sectors = (len(data) + 100 % 512 + 511) // 512
        entry |= 1 << 62 | (sectors - 1) << 54
        data = bytes(100) + data
    else:
        entry |= 1 << 63
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, 1 << 30, 0, 1, CLUSTER, 0, 0, 0, 0, features, 0, 0, 4, 104
    )
    tables = struct.pack(">Q", 1 << 63 | 2 * CLUSTER).ljust(CLUSTER, b"\0") + struct.pack(">Q", entry if allocated else 0)
    return header.ljust(CLUSTER, b"\0") + tables.ljust(2 * CLUSTER, b"\0") + data


@pytest.mark.parametrize("compressed", [False, True])
def test_the_first_cluster_of_a_qcow2_file_is_found(compressed: bool) -> None:
    head = gpt(ESP, LINUX)
    file = qcow2(head, compressed=compressed)
    assert first_bytes(lambda offset, size: file[offset : offset + size], qcow2=True) == head
    assert first_bytes(lambda offset, size: head[offset : offset + size], qcow2=False) == head


@pytest.mark.parametrize(
    "file",
    [
        qcow2(b"", allocated=False),
        qcow2(gpt(ESP), features=1 << 3),
        qcow2(gpt(ESP), features=1 << 4),
        qcow2(gpt(ESP))[: CLUSTER + 4],
        qcow2(gpt(ESP), compressed=True)[: 3 * CLUSTER + 90] + b"\xff" * 4000,
        b"QFI\xfb",
        b"",
        b"KDMV" * 100,
    ],
    ids=["empty", "zstd", "wide entries", "cut off", "damaged", "header alone", "nothing", "vmdk"],
)
def test_what_cannot_be_read_says_nothing(file: bytes) -> None:
    assert only_firmware(first_bytes(lambda offset, size: file[offset : offset + size], qcow2=True)) == ""


@pytest.mark.parametrize("options", [[], ["-c"], ["-c", "-o", "cluster_size=512k"], ["-o", "compat=0.10"]], ids=" ".join)
def test_files_of_qemu_s_own(options: list[str], tmp_path: Path) -> None:
    if not shutil.which("qemu-img"):
        pytest.skip("SKIPPED: no qemu-img")
    raw, file = tmp_path / "raw", tmp_path / "qcow2"
    raw.write_bytes(gpt(ESP, LINUX).ljust(1 << 20, b"\0") + b"x" * 4096)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, file], check=True)
    content = file.read_bytes()
    assert only_firmware(first_bytes(lambda offset, size: content[offset : offset + size], qcow2=True)) == "efi"
