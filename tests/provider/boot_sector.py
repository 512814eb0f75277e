"""A guest of 512 bytes: it writes a text to the serial port and powers off, or hangs."""

from __future__ import annotations

# BIOS loads the first sector of a disk to 0000:7c00 and jumps there, in 16-bit real mode.
_BEGIN = bytes(
    (
        0x31, 0xC0,              # xor ax, ax
        0x8E, 0xD8,              # mov ds, ax
        0xBE, 0x00, 0x7D,        # mov si, 0x7d00           ; the text
        0xBA, 0xFD, 0x03,        # next: mov dx, 0x3fd      ; COM1: line status
        0xEC,                    # wait: in al, dx
        0xA8, 0x20,              # test al, 0x20            ; transmitter empty
        0x74, 0xFB,              # jz wait
        0xAC,                    # lodsb
        0x84, 0xC0,              # test al, al
        0x74, 0x06,              # jz end
        0xBA, 0xF8, 0x03,        # mov dx, 0x3f8            ; COM1: data
        0xEE,                    # out dx, al
        0xEB, 0xED,              # jmp next
    )
)  # fmt: skip
_POWER_OFF = bytes(
    (
        0xBA, 0x04, 0x06,        # end: mov dx, 0x604       ; PM1a control of q35, as QEMU leaves it
        0xB8, 0x00, 0x20,        # mov ax, 0x2000           ; sleep enable, S5
        0xEF,                    # out dx, ax
    )
)  # fmt: skip
_HANG = bytes((0xF4, 0xEB, 0xFD))  # hang: hlt; jmp hang

_TEXT_AT = 0x100


def boot_sector(text: str, *, hangs: bool = False, size: int = 1 << 20) -> bytes:
    """A raw disk of `size` bytes that says `text` when it boots, at most 253 bytes, and powers off."""
    code = _BEGIN + (b"" if hangs else _POWER_OFF) + _HANG
    said = text.encode() + b"\0"
    if len(code) > _TEXT_AT or len(said) > 510 - _TEXT_AT:
        raise ValueError("the text does not fit into one sector")
    sector = code.ljust(_TEXT_AT, b"\0") + said
    return (sector.ljust(510, b"\0") + b"\x55\xaa").ljust(size, b"\0")
