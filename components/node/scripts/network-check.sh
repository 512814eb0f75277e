#!/usr/bin/env bash
# Proves that a network for pods works on this node: by a temporary macvlan or ipvlan link on its real interface, in a network
# namespace of its own, and by ARP.
#
# Environment:
#   SETTING        the network's setting, for messages, e.g. podNetworks.iot
#   MAC            MAC address of the node's NIC; the interface is found by it unless LINK names one
#   LINK           the pods' parent interface, where it is another than the one with MAC, e.g. enp1s0.50 (may be empty)
#   MTU            MTU that the pods' interfaces are to have, in bytes (may be empty: the parent's)
#   TYPE           macvlan or ipvlan
#   MODE           of macvlan: bridge, private or vepa, or passthru, with which no link is made; of ipvlan: l2, l3 or l3s
#   GATEWAY        IPv4 address that must answer by ARP (may be empty: none is probed)
#   FREE           IPv4 addresses that nobody but pods of this node has, as first-last, with commas between (may be empty)
#   BOOKED         IPv4 addresses that only one MAC address may have, as address=mac, with commas between (may be empty)
#   IPV6           true where the plugins set sysctls of IPv6 in pods, so that the kernel must have it
#   LIMIT_SECONDS  whole seconds for the gateway's answer at most
# Changes: loads the module of TYPE. Namespace network-check and link mvcheck0 exist while it runs and are removed whatever
# happens; what a killed run left is removed first.
# Exit: 0 it works; 1 with the reason.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${SETTING:?}" "${MAC:?}" "${TYPE:?}" "${MODE:?}" "${LIMIT_SECONDS:?}"
GATEWAY=${GATEWAY:-} LINK=${LINK:-} MTU=${MTU:-} FREE=${FREE:-} BOOKED=${BOOKED:-} IPV6=${IPV6:-false}

namespace=network-check link=mvcheck0

note() { echo "network: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"

nic=$(< "${0%/*}/nic.py")
address_probe=$(< "${0%/*}/address_probe.py")
lan_probe=$(< "${0%/*}/lan_probe.py")
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $MAC =~ ^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$ ]] || fail "MAC is not a MAC address"
[[ $LINK =~ ^([A-Za-z0-9][A-Za-z0-9._-]{0,14})?$ ]] || fail "LINK is no interface name"
[[ $MTU =~ ^[0-9]{0,5}$ ]] || fail "MTU must be whole bytes"
[[ $GATEWAY =~ ^(([0-9]{1,3}\.){3}[0-9]{1,3})?$ ]] || fail "GATEWAY is no IPv4 address"
[[ $FREE =~ ^[0-9.,-]*$ ]] || fail "FREE must be IPv4 addresses"
[[ $BOOKED =~ ^[0-9.,=a-fA-F:]*$ ]] || fail "BOOKED must be IPv4 and MAC addresses"
case $TYPE:$MODE in
  macvlan:bridge | macvlan:private | macvlan:vepa | macvlan:passthru | ipvlan:l2 | ipvlan:l3 | ipvlan:l3s) ;;
  *) fail "MODE must be one of TYPE's" ;;
esac

mkdir -p "$ROOT/run/lock"
exec 9> "$ROOT/run/lock/network-check.lock"
until flock --wait 10 9; do
  ((SECONDS < 300)) || fail "other checks have been running on this node for 300 s"
  note "waiting for another check, $SECONDS s"
done

# probe COMMAND...: runs it, and sets answers. In the background, so that a signal is not kept waiting.
prober='' answers=''
probe() {
  exec 8< <(exec "$@" 9>&-)
  prober=$!
  wait "$prober" || return 1
  prober=
  IFS= read -rd '' answers <&8 || true
  exec 8<&-
}

# A killed run leaves the namespace with the link, or the link not yet moved into it.
remove() {
  [[ -z $prober ]] || kill "$prober" 2> /dev/null || true
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
  fail "kernel $release is too old: $TYPE for containers needs 3.9 or later (4.0 advised)"
elif ((major < 4)); then
  note "warning: kernel $release works, 4.0 or later is advised"
fi
if command -v modprobe > /dev/null && ! message=$(modprobe "$TYPE" 2>&1) && [[ ! -d $ROOT/sys/module/$TYPE ]]; then
  note "the kernel $release has no module $TYPE: $message"
  fail "use an image whose kernel has it. What brings it: $(brings)"
fi
if [[ $IPV6 == true && ! -d $ROOT/proc/sys/net/ipv6/conf ]]; then
  fail "this kernel runs without IPv6, and the plugin tuning would fail each pod, because it sets IPv6 up on the pods' interface: set $SETTING.ipv6: accept, which leaves it alone (with replies: by-source the plugin is needed all the same, so remove that too), or start the kernel without ipv6.disable=1"
fi

read -r interface own mtu < <(ip -details -json link show | python3 -c "$nic" "$MAC" "$ROOT" "$LINK") || true
if [[ -z $interface ]]; then
  ip -brief link show >&2 || true
  [[ -z $LINK ]] || fail "there is no interface $LINK for the pods on this node: set $SETTING.parent to one of those listed above"
  fail "no interface has the MAC $MAC; the interfaces are listed above"
fi
if [[ -n $MTU ]] && ((MTU > mtu)); then
  fail "$SETTING.mtu $MTU is $((MTU - mtu)) bytes above the MTU $mtu of $interface, and the plugin refuses such a pod: set at most $mtu, or network.mtu where the network carries more"
fi
[[ $(ip -oneline link show up dev "$interface") ]] || fail "$interface is down"

# Who has an address: pods of this node hear nothing that its own interface sends.
others=''
if [[ -n $FREE ]]; then
  probe python3 -c "$lan_probe" "$interface" "$own" "${FREE%%[-,]*}" "$FREE" || fail "cannot probe for $FREE on $interface"
  others=$(sed '/^probed /d' <<< "$answers")
fi
if [[ -n $BOOKED ]]; then
  IFS=, read -ra entries <<< "$BOOKED"
  addresses=$(IFS=,; echo "${entries[*]%%=*}")
  probe python3 -c "$lan_probe" "$interface" "$own" "${addresses%%,*}" "$addresses" || fail "cannot probe for $addresses on $interface"
  while read -r address sender; do
    [[ $address == probed || ,${BOOKED,,}, == *",$address=$sender,"* ]] || others+=${others:+$'\n'}"$address $sender"
  done <<< "${answers%$'\n'}"
fi
if [[ -n $others ]]; then
  while read -r address sender; do
    note "$address is in use: $sender answered for it"
  done <<< "$others"
  fail "other machines have addresses that $SETTING gives to pods. Find them, or move its range or its addresses away from them"
fi

if [[ $MODE == passthru ]]; then
  echo "interface=$interface kernel=$major.$minor $TYPE=untried"
  exit 0
fi
ip netns add "$namespace"
if ! message=$(ip link add link "$interface" name "$link" type "$TYPE" mode "$MODE" 2>&1); then
  note "cannot make a $TYPE link on $interface: $message"
  fail "an interface that is part of a bridge or bond, or that carries links of the other of macvlan and ipvlan, cannot carry it; give the NIC itself, or a VLAN of its own"
fi
ip link set "$link" netns "$namespace"
ip -netns "$namespace" link set "$link" up

if [[ -n $GATEWAY ]]; then
  # An ipvlan link has its parent's MAC address, so the probe is sent from the parent.
  if [[ $TYPE == macvlan ]]; then
    asker=(ip netns exec "$namespace") from=$link
    read -r _ from_mac _ < <(ip -netns "$namespace" -details -json link show | python3 -c "$nic" "" "$ROOT" "$link")
  else
    asker=() from=$interface from_mac=$own
  fi
  answers='' since=$SECONDS said=$SECONDS
  until [[ -n $answers ]]; do
    probe "${asker[@]}" python3 -c "$address_probe" "$from" "$from_mac" "$GATEWAY" || fail "cannot probe for $GATEWAY on $from"
    [[ -n $answers ]] || ((SECONDS - since < LIMIT_SECONDS)) || break
    ((SECONDS - said < 10)) || { note "waiting for an answer of the gateway $GATEWAY, $((SECONDS - since)) s"; said=$SECONDS; }
  done
  answer=${answers%$'\n'}
  if [[ -z $answer ]]; then
    note "the gateway $GATEWAY of $SETTING does not answer by ARP through the $TYPE link on $interface within $LIMIT_SECONDS s"
    [[ $TYPE == ipvlan ]] || note "look at the hypervisor: the bridge must learn foreign MACs (no macTableManager, no MAC filter, no macvtap)"
    [[ $LINK != *.* ]] || note "look at the VLAN: the port of the node's machine must carry its tag, and the router must be on it"
    fail "or correct $SETTING.gateway; without a router there, $SETTING.check: false"
  fi
fi
echo "interface=$interface kernel=$major.$minor $TYPE=ok${GATEWAY:+ gateway=$answer}"
