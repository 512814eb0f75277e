"""A DHCP client for tests: gets a lease as a machine on a segment does, by frames of its own.

`python tests/dhcp.py INTERFACE MAC HOSTNAME [CLIENT_ID] [WANTED]` prints the address, or nothing within five seconds. It uses
nothing but the standard library, so it runs in any network namespace.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def frame(mac: bytes, options: bytes) -> bytes:
    """An Ethernet broadcast of a client without an address; the answer is requested as a broadcast too."""
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1AB, 0, 0x8000) + bytes(16) + mac.ljust(16, b"\0") + bytes(192)
    body = head + COOKIE + options + b"\xff"
    datagram = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + bytes(4) + b"\xff" * 4
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return b"\xff" * 6 + mac + b"\x08\x00" + ip + datagram


def answer(wire: socket.socket, kind: int, mac: bytes, seconds: float) -> tuple[str, bytes] | None:
    """(address, server's identifier) of the answer of this kind to us."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        wire.settimeout(left)
        try:
            packet = wire.recv(4096)[14:]
        except TimeoutError:
            return None
        body = packet[(packet[0] & 15) * 4 + 8 :]
        if len(body) < 241 or body[0] != 2 or body[28:34] != mac or body[236:240] != COOKIE:
            continue
        options, at = {}, 240
        while at + 1 < len(body) and body[at] != 255:
            if body[at] == 0:
                at += 1
                continue
            options[body[at]] = body[at + 2 : at + 2 + body[at + 1]]
            at += 2 + body[at + 1]
        if options.get(53) == bytes([kind]):
            return socket.inet_ntoa(body[16:20]), options[54]
    return None


def option(number: int, data: bytes) -> bytes:
    return bytes([number, len(data)]) + data


def lease(interface: str, mac_address: str, name: str, client: str = "", wanted: str = "") -> str:
    """The address; "" if the server gives none, or another than `wanted`."""
    mac = bytes.fromhex(mac_address.replace(":", ""))
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    wire.bind((interface, 0x0800))
    who = option(12, name.encode()) + (option(61, bytes.fromhex(client.replace(":", ""))) if client else b"")
    for _ in range(3):
        request = option(50, socket.inet_aton(wanted)) if wanted else b""
        wire.send(frame(mac, option(53, bytes([DISCOVER])) + request + who))
        offered = answer(wire, OFFER, mac, 1.5)
        if offered is None:
            continue
        address, server = offered
        if wanted and address != wanted:
            return ""
        wire.send(frame(mac, option(53, bytes([REQUEST])) + option(50, socket.inet_aton(address)) + option(54, server) + who))
        if answer(wire, ACK, mac, 1.5):
            return address
    return ""


if __name__ == "__main__":
    print(lease(*sys.argv[1:]))
