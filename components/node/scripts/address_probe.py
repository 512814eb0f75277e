"""Reports the MAC address of another machine that has an address or probes for it; nothing where there is none.

Arguments: interface, its MAC address, the IPv4 address.
The probes have the sender address 0.0.0.0 (RFC 5227) and disturb nobody's ARP table.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

ARP = 0x0806
PROBES = 3
SECONDS = 0.6
"""The time for an answer to each."""


def probe(mac: bytes, address: bytes) -> bytes:
    """The Ethernet frame that probes for the address."""
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + address
    return b"\xff" * 6 + mac + ARP.to_bytes(2, "big") + arp


def claimant(frame: bytes, mac: bytes, address: bytes) -> bytes | None:
    """The MAC address of another machine whose ARP packet claims the address, or probes for it."""
    arp = frame[14:42]
    if len(arp) < 28:
        return None
    sender, claimed, target = arp[8:14], arp[14:18], arp[24:28]
    conflict = claimed == address or (claimed == bytes(4) and target == address)
    return sender if conflict and sender != mac else None


def find(interface: str, mac: bytes, address: bytes) -> bytes | None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as packets:
        packets.bind((interface, ARP))
        for _ in range(PROBES):
            packets.send(probe(mac, address))
            end = time.monotonic() + SECONDS
            while (left := end - time.monotonic()) > 0:
                if select.select([packets], [], [], left)[0] and (other := claimant(packets.recv(2048), mac, address)):
                    return other
    return None


if __name__ == "__main__":
    other = find(sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), socket.inet_aton(sys.argv[3]))
    if other:
        print(other.hex(":"))
