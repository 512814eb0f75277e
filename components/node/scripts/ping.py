"""Pings an address until it answers. Not the program ping, which not every image has.

Arguments: the IPv4 address, seconds at most. Exit: 0; 1 at the limit, with the last error.
"""

import os
import select
import socket
import struct
import sys
import time

REPORT_SECONDS = 10


def echo_request(identifier: int, sequence: int) -> bytes:
    """An ICMP packet with its checksum (RFC 1071)."""

    def pack(checksum: int) -> bytes:
        return struct.pack("!BBHHH", 8, 0, checksum, identifier, sequence) + b"macvlan-check..."

    total = sum(struct.unpack("!12H", pack(0)))
    total = (total >> 16) + (total & 0xFFFF)
    return pack(~(total + (total >> 16)) & 0xFFFF)


def is_reply(packet: bytes, identifier: int) -> bool:
    """Whether an IPv4 packet is an answer to a request with this identifier."""
    icmp = packet[(packet[0] & 15) * 4 :]
    return len(icmp) >= 8 and icmp[0] == 0 and icmp[4:6] == identifier.to_bytes(2, "big")


def ping(address: str, limit: float) -> str:
    """The last error, or nothing when there was an answer."""
    identifier, sequence, error = os.getpid() & 0xFFFF, 0, "no answer"
    start, shown = time.monotonic(), 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as packets:
        while (now := time.monotonic() - start) < max(limit, 1):
            if now - shown >= REPORT_SECONDS:
                shown = now
                print(f"macvlan: pinging {address}, {now:.0f} s", file=sys.stderr, flush=True)
            sequence = sequence + 1 & 0xFFFF
            end = time.monotonic() + 1
            try:
                packets.sendto(echo_request(identifier, sequence), (address, 0))
                while (left := end - time.monotonic()) > 0:
                    if select.select([packets], [], [], left)[0]:
                        packet, (sender, _) = packets.recvfrom(2048)
                        if sender == address and is_reply(packet, identifier):
                            return ""
                error = "no answer"
            except OSError as problem:
                error = problem.strerror or str(problem)
                time.sleep(0.5)
    return error


if __name__ == "__main__":
    gateway, seconds = sys.argv[1], float(sys.argv[2])
    failure = ping(gateway, seconds)
    if failure:
        sys.exit(f"macvlan: {gateway} does not answer a ping through the macvlan link within {seconds:.0f} s: {failure}")
