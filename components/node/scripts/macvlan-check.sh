#!/usr/bin/env bash
# Proves that macvlan works on this node's real NIC, by a temporary macvlan link in a network namespace of its own.
#
# Environment:
#   MAC            the NIC's MAC address; the interface is found by it unless PARENT names one
#   PARENT         name of the pods' parent interface, where it is another than the one with MAC (may be empty)
#   MTU            MTU that the pods' interfaces are to have, in bytes (may be empty: the parent's)
#   TEST_ADDRESS   a free IPv4 address with its prefix, e.g. 192.168.122.205/24
#   GATEWAY        IPv4 address that the link must reach (unused when PING is false)
#   MODE           bridge, private or vepa (passthru would take the NIC away from the node and is refused)
#   PING           true or false
#   LIMIT_SECONDS  whole seconds for the ping at most
# Changes: loads the module macvlan. Namespace macvlan-check and link mvcheck0 exist while it runs and are removed
# whatever happens; what a killed run left is removed first.
# Exit: 0 macvlan works; 1 with the reason: no interface, MTU above the parent's, kernel too old or without macvlan, the address
# answered by somebody (duplicate), gateway silent.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${MAC:?}" "${TEST_ADDRESS:?}" "${MODE:?}" "${PING:?}" "${LIMIT_SECONDS:?}"
GATEWAY=${GATEWAY:-} PARENT=${PARENT:-} MTU=${MTU:-}

namespace=macvlan-check link=mvcheck0

note() { echo "macvlan: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/kernel.sh"

link_address=$(< "${0%/*}/link_address.py")
nic=$(< "${0%/*}/nic.py")
address_probe=$(< "${0%/*}/address_probe.py")
ping=$(< "${0%/*}/ping.py")
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $MAC =~ ^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$ ]] || fail "MAC is not a MAC address"
[[ $PARENT =~ ^([A-Za-z0-9][A-Za-z0-9._-]{0,14})?$ ]] || fail "PARENT is no interface name"
[[ $MTU =~ ^[0-9]{0,5}$ ]] || fail "MTU must be whole bytes"
case $MODE in
  bridge | private | vepa) ;;
  passthru) fail "mode passthru takes the NIC away from the node, so it is not tried; switch the check off for it" ;;
  *) fail "MODE must be bridge, private or vepa" ;;
esac
case $PING in true | false) ;; *) fail "PING must be true or false" ;; esac
python3 -c "$link_address" "$TEST_ADDRESS" "$GATEWAY" "$PING"

mkdir -p "$ROOT/run/lock"
exec 9> "$ROOT/run/lock/macvlan-check.lock"
until flock --wait 10 9; do
  ((SECONDS < 60)) || fail "another macvlan check has been running on this node for 60 s"
  note "waiting for another check, $SECONDS s"
done

# A killed run leaves the namespace with the link, or the link not yet moved into it.
pinger=
remove() {
  [[ -z $pinger ]] || kill "$pinger" 2> /dev/null || true
  if [[ -n $(ip netns list 2> /dev/null | awk -v n="$namespace" '$1 == n') ]]; then
    ip netns exec "$namespace" ip link delete "$link" 2> /dev/null || true
    ip netns delete "$namespace" || true
  fi
  ip link delete "$link" 2> /dev/null || true
}
trap remove EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP PIPE
remove

release=$(uname -r)
[[ $release =~ ^([0-9]+)\.([0-9]+) ]] || fail "cannot read the kernel version from '$release'"
major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
if ((major < 3 || (major == 3 && minor < 9))); then
  fail "kernel $release is too old: macvlan for containers needs 3.9 or later (4.0 advised)"
elif ((major < 4)); then
  note "warning: kernel $release works, 4.0 or later is advised"
fi
if command -v modprobe > /dev/null && ! message=$(modprobe macvlan 2>&1) && [[ ! -d $ROOT/sys/module/macvlan ]]; then
  note "the kernel $release has no module macvlan: $message"
  fail "use an image whose kernel has it. What brings it: $(brings)"
fi

read -r interface own mtu < <(ip -details -json link show | python3 -c "$nic" "$MAC" "$ROOT" "$PARENT") || true
if [[ -z $interface ]]; then
  ip -brief link show >&2 || true
  [[ -z $PARENT ]] || fail "there is no interface $PARENT for the pods on this node: set macvlan.master to one of those listed above"
  fail "no interface has the MAC $MAC; the interfaces are listed above"
fi
if [[ -n $MTU ]] && ((MTU > mtu)); then
  fail "macvlan.mtu $MTU is $((MTU - mtu)) bytes above the MTU $mtu of $interface, and the plugin refuses such a pod: set at most $mtu, or network.mtu where the network carries more"
fi
[[ $(ip -oneline link show up dev "$interface") ]] || fail "$interface is down"
address=${TEST_ADDRESS%/*}
if [[ $(ip -oneline -4 address show to "$address/32") ]]; then
  fail "the test address $address is an address of this node itself; choose a free one"
fi

other=$(python3 -c "$address_probe" "$interface" "$own" "$address" 9>&-)
[[ -z $other ]] || fail "the test address $address is in use: $other answered for it. Choose another test address, or find that machine"

ip netns add "$namespace"
if ! message=$(ip link add link "$interface" name "$link" type macvlan mode "$MODE" 2>&1); then
  note "cannot make a macvlan link on $interface: $message"
  fail "a NIC that is part of a bridge or bond cannot carry macvlan; give the NIC itself, and a kernel with macvlan"
fi
ip link set "$link" netns "$namespace"
ip -netns "$namespace" address add "$TEST_ADDRESS" dev "$link"
ip -netns "$namespace" link set "$link" up

if [[ $PING == true ]]; then
  ip netns exec "$namespace" python3 -c "$ping" "$GATEWAY" "$LIMIT_SECONDS" 9>&- &
  # In the background, so that a signal is not kept waiting.
  pinger=$!
  wait "$pinger" || {
    neighbour=$(ip -netns "$namespace" neighbour show "$GATEWAY" || true)
    note "neighbour entry of the gateway: ${neighbour:-none}"
    if [[ $neighbour == *lladdr* ]]; then
      fail "its ARP came through, so macvlan works but the gateway refuses ICMP: switch the ping of the check off"
    fi
    fail "look at the hypervisor: the bridge must learn foreign MACs (no macTableManager, no MAC filter, no macvtap)"
  }
fi
echo "interface=$interface kernel=$major.$minor macvlan=ok"
