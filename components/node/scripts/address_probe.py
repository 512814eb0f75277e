"""Reports the MAC address that answers an ARP probe for an address; nothing where none does.

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
REPLY = 2
PROBES = 3
SECONDS = 0.6
"""The time for an answer to each."""


def probe(mac: bytes, address: bytes) -> bytes:
    """The Ethernet frame that probes for the address."""
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + address
    return b"\xff" * 6 + mac + ARP.to_bytes(2, "big") + arp


def answerer(frame: bytes, mac: bytes, address: bytes) -> bytes | None:
    """The MAC address that sent this reply to `mac`. What its owner sends to everybody arrives also where replies do not."""
    arp = frame[14:42]
    if len(arp) < 28 or int.from_bytes(arp[6:8], "big") != REPLY:
        return None
    sender, claimed, to = arp[8:14], arp[14:18], arp[18:24]
    return sender if claimed == address and to == mac and sender != mac else None


def find(interface: str, mac: bytes, address: bytes) -> bytes | None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as packets:
        packets.bind((interface, ARP))
        for _ in range(PROBES):
            packets.send(probe(mac, address))
            end = time.monotonic() + SECONDS
            while (left := end - time.monotonic()) > 0:
                if select.select([packets], [], [], left)[0] and (other := answerer(packets.recv(2048), mac, address)):
                    return other
    return None


if __name__ == "__main__":
    other = find(sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), socket.inet_aton(sys.argv[3]))
    if other:
        print(other.hex(":"))
