"""Reports by ARP which of some addresses other machines have: a line "ADDRESS MAC" for each, then "probed NUMBER".

Arguments: interface, its MAC address, an IPv4 address, further addresses as first-last, separated by commas; may be empty.
The probes have the sender address 0.0.0.0 (RFC 5227) and disturb nobody's ARP table.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from ipaddress import IPv4Address

ARP = 0x0806
PROBES = 3
SECONDS = 0.6
"""The time for answers after each round of probes."""
MOST = 1024


def addresses(own: str, ranges: str) -> list[bytes]:
    """The addresses to probe for, MOST at most."""
    numbers = [int(IPv4Address(own))]
    for pair in filter(None, ranges.split(",")):
        first, _, last = pair.partition("-")
        numbers += range(int(IPv4Address(first)), int(IPv4Address(last or first)) + 1)
    return [number.to_bytes(4, "big") for number in numbers[:MOST]]


def probe(mac: bytes, address: bytes) -> bytes:
    """The Ethernet frame that probes for the address."""
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + address
    return b"\xff" * 6 + mac + ARP.to_bytes(2, "big") + arp


def owner(frame: bytes, mac: bytes, wanted: list[bytes]) -> tuple[bytes, bytes] | None:
    """Address and MAC address of another machine that has one of the addresses, by its ARP packet."""
    arp = frame[14:42]
    if len(arp) < 28 or arp[8:14] == mac or arp[14:18] not in wanted:
        return None
    return arp[14:18], arp[8:14]


def find(interface: str, mac: bytes, wanted: list[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as packets:
        packets.bind((interface, ARP))

        def listen(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                if select.select([packets], [], [], left)[0] and (other := owner(packets.recv(2048), mac, wanted)):
                    found[other[0]] = other[1]

        for _ in range(PROBES):
            for address in wanted:
                packets.send(probe(mac, address))
                listen(0.001)
            listen(SECONDS)
    return found


if __name__ == "__main__":
    try:
        targets = addresses(*sys.argv[3:5])
    except ValueError as error:
        sys.exit(f"lan: ADDRESS and RANGES must be IPv4 addresses: {error}")
    for address, sender in sorted(find(sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), targets).items()):
        print(socket.inet_ntoa(address), sender.hex(":"))
    print("probed", len(targets))
