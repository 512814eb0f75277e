#!/usr/bin/env bash
# Finds out by ARP whether another machine has this node's address or one its pods will get.
#
# Environment:
#   MAC            the NIC's MAC address; the interface is found by it
#   ADDRESS        the node's own IPv4 address
#   RANGES         further addresses, as first-last, separated by commas; may be empty
# Changes: nothing. The probes bear the sender address 0.0.0.0 (RFC 5227) and disturb nobody's ARP table.
# Its text is also in the user data of nodes on a bridge: another text recreates each of them.
# Exit: 0 nobody answered; 1 with every address that is in use and by whom. At most 1024 addresses are probed.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${MAC:?}" "${ADDRESS:?}"
RANGES=${RANGES:-}

note() { echo "lan: $*" >&2; }
fail() { note "$@"; exit 1; }

nic=$(< "${0%/*}/nic.py")
lan_probe=$(< "${0%/*}/lan_probe.py")
[[ $MAC =~ ^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$ ]] || fail "MAC is not a MAC address"

interface=$(ip -json link show | python3 -c "$nic" "$MAC" "$ROOT" "")
interface=${interface%% *}
[[ -n $interface ]] || fail "no interface has the MAC $MAC"

answers=$(python3 -c "$lan_probe" "$interface" "$MAC" "$ADDRESS" "$RANGES")

probed=${answers##*probed }
others=$(sed '/^probed /d' <<< "$answers")
if [[ -n $others ]]; then
  while read -r address sender; do
    note "$address is in use: $sender answered for it"
  done <<< "$others"
  fail "other machines have addresses of this node or of its pods. Find them, or move network.nodes or macvlan.range away from them"
fi
echo "interface=$interface probed=$probed lan=free"
