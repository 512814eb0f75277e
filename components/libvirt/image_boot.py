"""By which firmware a disk image boots, from its first sectors. Pure.

A BIOS runs the code of the first sector; UEFI reads a file of a FAT file system. Both can be seen there, though not whether what
they find works. Formats: docs/interop/qcow2.rst of QEMU; UEFI specification, 5.2 (MBR) and 5.3 (GPT).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

SECTOR = 512
BYTES = 34 * SECTOR
"""The first sector, and the GPT with its 128 entries."""

SIGNS: Mapping[str, tuple[str, str]] = {
    "efi": ("its disk has an EFI system partition, and no code for a BIOS in the first sector", "UEFI"),
    "bios": ("its disk has code for a BIOS, and no partition that UEFI reads", "BIOS"),
}
"""By firmware: how an image for it alone is recognized, and its name for people."""

_CODE = 440
_SIGNATURE = b"\x55\xaa"
_GPT = 0xEE
_SYSTEM_PARTITION = {bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b"), 0xEF}
# Types of partitions with FAT, which UEFI looks into as well: FAT12, FAT16, FAT32, and "basic data" of GPT.
_FAT = {0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7")}

_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED, _ZERO = 1 << 62, 1
_ZSTD, _WIDE_ENTRIES = 1 << 3, 1 << 4


def first_bytes(read: Callable[[int, int], bytes], *, qcow2: bool) -> bytes:
    """BYTES of the disk from its beginning, or fewer; b"" where they cannot be read.

    read: bytes of the image's file by offset and number.
    """
    if not qcow2:
        return read(0, BYTES)
    head = read(0, 104)
    if len(head) < 72 or head[:4] != b"QFI\xfb":
        return b""
    (version,) = struct.unpack(">I", head[4:8])
    (bits,) = struct.unpack(">I", head[20:24])
    (table,) = struct.unpack(">Q", head[40:48])
    (features,) = struct.unpack(">Q", head[72:80]) if version >= 3 and len(head) >= 80 else (0,)
    if features & (_ZSTD | _WIDE_ENTRIES) or not 9 <= bits <= 21:
        return b""
    second = _entry(read(table, 8)) & _OFFSET
    return _first_cluster(read, _entry(read(second, 8)) if second else 0, bits)


def _first_cluster(read: Callable[[int, int], bytes], entry: int, bits: int) -> bytes:
    """entry: of the cluster in its table. bits: of the size of a cluster."""
    if not entry or entry & _ZERO:
        return b""
    if not entry & _COMPRESSED:
        return read(entry & _OFFSET, min(1 << bits, BYTES))
    bits_of_offset = 62 - (bits - 8)
    offset = entry & ((1 << bits_of_offset) - 1)
    sectors = ((entry & (_COMPRESSED - 1)) >> bits_of_offset) + 1
    try:
        return zlib.decompressobj(-15).decompress(read(offset, sectors * SECTOR - offset % SECTOR), BYTES)
    except zlib.error:
        return b""


def _entry(raw: bytes) -> int:
    return int.from_bytes(raw, "big") if len(raw) == 8 else 0


def only_firmware(head: bytes) -> str:
    """bios or efi if the disk that begins with these bytes boots by it alone; "" for both, neither, or where that is not known."""
    if len(head) < SECTOR or head[SECTOR - 2 : SECTOR] != _SIGNATURE:
        return ""
    kinds = _partitions(head)
    if not kinds:
        return ""
    code = any(head[:_CODE])
    system = bool(kinds & _SYSTEM_PARTITION)
    if system and not code:
        return "efi"
    return "bios" if code and not system and not kinds & _FAT else ""


def _partitions(head: bytes) -> set[int | bytes]:
    """Types of the partitions, numbers of an MBR or GUIDs of a GPT. Empty where there is no table, or not all of it was read."""
    numbers = {head[446 + 16 * number + 4] for number in range(4)} - {0}
    if _GPT not in numbers:
        return {*numbers}
    header = head[SECTOR : 2 * SECTOR]
    if header[:8] != b"EFI PART":
        return set()
    first, count, size = struct.unpack("<QII", header[72:88])
    begin, end = first * SECTOR, first * SECTOR + count * size
    if size < 128 or end > len(head):
        return set()
    return {*({head[at : at + 16] for at in range(begin, end, size)} - {bytes(16)}), *(numbers - {_GPT})}
