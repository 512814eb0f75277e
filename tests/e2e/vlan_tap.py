"""An interface on a VLAN for a kernel that makes none: frames of a TAP interface leave by a port tagged, and the port's tagged
frames come in.

Arguments: the port, the VLAN's number, the name of the TAP interface. Runs as root until it is ended, in the network namespace that
the port comes into; it waits for the port.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR = 263, 8, 15
PACKET_OUTGOING = 4
LARGEST = 2**17
TP_STATUS_VLAN_VALID = 1 << 4
ETH_P_ALL, ETH_P_8021Q = 0x0003, 0x8100
VNET_HDR = 10
"""Bytes of virtio_net_hdr in front of each frame, by which the kernel completes what guests leave to it: checksums, segments."""


def tap(name: str) -> int:
    """A TAP interface; the file descriptor of its frames."""
    handle = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return handle


def tagged(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + struct.pack("!HH", ETH_P_8021Q, vlan) + frame[12:]


def untagged(frame: bytes, auxiliary: list[tuple[int, int, bytes]], vlan: int) -> bytes | None:
    """The frame without its tag, if it has this VLAN's: the kernel takes the tag off and reports it next to the frame."""
    for level, kind, data in auxiliary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _length, _snap, _mac, _net, tag, _protocol = struct.unpack("=IIIHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                return frame if tag & 0x0FFF == vlan else None
    if len(frame) > 18 and struct.unpack("!H", frame[12:14])[0] == ETH_P_8021Q:
        return frame[:12] + frame[16:] if struct.unpack("!H", frame[14:16])[0] & 0x0FFF == vlan else None
    return None


def main(port: str, vlan: int, name: str) -> None:
    deadline = time.monotonic() + 20
    # Not by /sys, which shows the interfaces of the namespace that it was mounted in.
    while port not in (known for _index, known in socket.if_nameindex()):
        if time.monotonic() > deadline:
            sys.exit(f"no interface {port}")
        time.sleep(0.05)
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packets.bind((port, ETH_P_ALL))
    inside = tap(name)
    while True:
        ready, _, _ = select.select([packets.fileno(), inside], [], [])
        if inside in ready:
            # Without offloads of the TAP interface its frames are complete.
            packets.send(bytes(VNET_HDR) + tagged(os.read(inside, LARGEST)[VNET_HDR:], vlan))
        if packets.fileno() in ready:
            frame, auxiliary, _flags, address = packets.recvmsg(LARGEST, 256)
            if address[2] != PACKET_OUTGOING and (plain := untagged(frame[VNET_HDR:], auxiliary, vlan)) is not None:
                with contextlib.suppress(OSError):  # as long as it is down
                    os.write(inside, frame[:VNET_HDR] + plain)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
