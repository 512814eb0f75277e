#!/usr/bin/env bash
# Asks the network by ARP whether another machine has this node's address or one its pods will get.
#
# Environment:
#   MAC            the NIC's MAC address; the interface is found by it
#   ADDRESS        the node's own IPv4 address
#   RANGES         further addresses, as first-last, separated by commas; may be empty
# Changes: nothing. The probes bear the sender address 0.0.0.0 (RFC 5227) and disturb nobody's ARP table.
# Its text is also in the user data of nodes on a bridge: another text makes each of them anew.
# Exit: 0 nobody answered; 1 with every address that is in use and by whom. At most 1024 addresses are asked for.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${MAC:?}" "${ADDRESS:?}"
RANGES=${RANGES:-}

note() { echo "lan: $*" >&2; }
fail() { note "$@"; exit 1; }

[[ $MAC =~ ^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$ ]] || fail "MAC is not a MAC address"

# A bridge or VLAN on the NIC bears the same MAC: physical devices come first.
interface=$(ip -json link show | python3 -c '
import json, os, sys
mac, root = sys.argv[1].lower(), sys.argv[2]
found = [l for l in json.load(sys.stdin) if l.get("address", "").lower() == mac]
found.sort(key=lambda l: (not os.path.exists(root + "/sys/class/net/" + l["ifname"] + "/device"), l["ifindex"]))
print(found[0]["ifname"] if found else "")
' "$MAC" "$ROOT")
[[ -n $interface ]] || fail "no interface has the MAC $MAC"

answers=$(python3 -c '
import socket, struct, sys, time
from ipaddress import IPv4Address
interface, mac, address, ranges = sys.argv[1:5]
try:
    wanted = [int(IPv4Address(address))]
    for each in filter(None, ranges.split(",")):
        first, _, last = each.partition("-")
        wanted += range(int(IPv4Address(first)), int(IPv4Address(last or first)) + 1)
except ValueError as error:
    sys.exit(f"lan: ADDRESS and RANGES must be IPv4 addresses: {error}")
wanted = [each.to_bytes(4, "big") for each in wanted[:1024]]
own = bytes.fromhex(mac.replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind((interface, 0x0806))
seen = {}
def listen(seconds):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            arp = s.recv(2048)[14:42]
        except TimeoutError:
            return
        if len(arp) == 28 and arp[8:14] != own and arp[14:18] in wanted:
            seen[arp[14:18]] = arp[8:14]
for _ in range(3):
    for target in wanted:
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + bytes(4) + bytes(6) + target
        s.send(b"\xff" * 6 + own + b"\x08\x06" + arp)
        listen(0.001)
    listen(0.6)
for target, sender in sorted(seen.items()):
    print(socket.inet_ntoa(target), sender.hex(":"))
print("asked", len(wanted))
' "$interface" "$MAC" "$ADDRESS" "$RANGES")

asked=${answers##*asked }
others=$(sed '/^asked /d' <<< "$answers")
if [[ -n $others ]]; then
  while read -r address sender; do
    note "$address is in use: $sender answered for it"
  done <<< "$others"
  fail "other machines have addresses of this node or of its pods. Find them, or move network.nodes or macvlan.range away from them"
fi
echo "interface=$interface asked=$asked lan=free"
