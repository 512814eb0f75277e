#!/usr/bin/env bash
# Gives this node an interface on a VLAN for pods, without any address of the node's, kept by a systemd unit over reboots.
#
# Environment:
#   ACTION     on or off
#   PARENT     the interface that carries the VLAN, e.g. enp1s0
#   VLAN       its number, 1 to 4094
#   LIMIT_SECONDS  with off: whole seconds to wait for pods on it to end
# Changes: interface PARENT.VLAN, unit k3s-macvlan-vlan-PARENT.VLAN.service, and files that keep systemd-networkd and NetworkManager off
# it; off removes all of them, and so does a first run that fails. An interface of this name on this VLAN that was there before is used and stays.
# Exit: 0 done; 1 with the reason: no such parent, another interface of that name, with off pods or other interfaces that are on it.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ACTION:?}" "${PARENT:?}" "${VLAN:?}"

note() { echo "vlan: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/network-manager.sh"

pod_interfaces=$(< "${0%/*}/pod_interfaces.py")
[[ $PARENT =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$ ]] || fail "PARENT is no interface name"
[[ $VLAN =~ ^[1-9][0-9]{0,3}$ && $VLAN -le 4094 ]] || fail "VLAN must be a number from 1 to 4094"
link=$PARENT.$VLAN
((${#link} <= 15)) || fail "the name $link is longer than the 15 characters that Linux takes"
unit=k3s-macvlan-vlan-$link.service
file=$ROOT/etc/systemd/system/$unit
unmanaged=$ROOT/etc/systemd/network/05-k3s-macvlan-vlan-$link.network
there() { [[ -e $ROOT/sys/class/net/$1 ]]; }
# networkd reads its files when it is reloaded, and takes a VLAN for the NIC whose MAC address it has.
reload_networkd() {
  if systemctl is-active --quiet systemd-networkd.service; then
    networkctl reload || fail "systemd-networkd would not read its files again"
  fi
}
# The interface is ours while the unit's file is there, which is why that file is removed after it.
remove() {
  if [[ -e $file ]]; then
    systemctl disable --quiet --now "$unit" || fail "systemd would not disable $unit"
    if there "$link"; then
      ip link delete "$link" || fail "$link could not be deleted"
    fi
    rm -f "$file"
    systemctl daemon-reload
  fi
  if [[ -e $unmanaged ]]; then
    rm -f "$unmanaged"
    reload_networkd
  fi
  manager_takes "vlan-$link"
}

case $ACTION in
  off)
    [[ ${LIMIT_SECONDS:-} =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
    if [[ ! -e $file && ! -e $unmanaged ]]; then
      echo "vlan=$link absent or not ours"
      exit 0
    fi
    while [[ -e $file ]]; do
      pods=$(python3 -c "$pod_interfaces" on "$link" "$ROOT")
      [[ -n $pods ]] || break
      ((SECONDS < LIMIT_SECONDS)) ||
        fail "$link stays, because pods are on it that would lose their interface: ${pods//$'\n'/, }. Delete them, then repeat this step"
      [[ -n $beat ]] || stage "waiting for pods on $link to end: ${pods//$'\n'/, }"
      pause 1
    done
    stage
    for upper in "$ROOT/sys/class/net/$link"/upper_*; do
      [[ ! -e $upper ]] || fail "$link stays, because the interface ${upper##*/upper_} is on it. Delete that, then repeat this step"
    done
    remove
    echo "vlan=$link removed"
    exit 0
    ;;
  on) ;;
  *) fail "ACTION must be on or off" ;;
esac
there "$PARENT" || fail "there is no interface $PARENT on this node (parent of the network, network.interface)"
ip=$(command -v ip) || fail "ip is missing: install $(package_of ip)"
sh=$(command -v sh)

if there "$link"; then
  found=$(ip -details -oneline link show dev "$link")
  [[ $found == *" $link@$PARENT:"* && $found == *" vlan protocol 802.1Q id $VLAN "* ]] ||
    fail "an interface $link is there and is not VLAN $VLAN of $PARENT: rename it, or choose another parent or VLAN"
  if [[ ! -e $file ]]; then
    echo "vlan=$link made by others, used as it is"
    exit 0
  fi
elif command -v modprobe > /dev/null && ! message=$(modprobe 8021q 2>&1) && [[ ! -d $ROOT/proc/net/vlan ]]; then
  fail "the kernel $(uname -r) has no module 8021q, so it makes no VLANs: ${message:-}. Use an image whose kernel has it. What brings it: $(brings)"
fi

# undo TEXT: fails, and leaves nothing of a first run.
former=''
[[ ! -e $file ]] || former=1
undo() {
  note "$@"
  [[ -n $former ]] || (remove) || true
  exit 1
}
umask 022
mkdir -p "${unmanaged%/*}" "${file%/*}"
if [[ ! -e $unmanaged ]]; then
  printf '[Match]\nName=%s\n\n[Link]\nUnmanaged=yes\n' "$link" > "$unmanaged.new"
  mv "$unmanaged.new" "$unmanaged"
  (reload_networkd) || undo "so no interface is made that it might give an address"
fi
manager_leaves "vlan-$link" "$link"
device=sys-subsystem-net-devices-${PARENT//-/\\x2d}.device
{
  # Whoever configures the parent may set its MTU when it sets it up, and while it is down a VLAN cannot be set up.
  printf '[Unit]\nDescription=VLAN %s of %s for pods\nBindsTo=%s\nAfter=%s network-online.target\n' "$VLAN" "$PARENT" "$device" "$device"
  printf 'Wants=network-online.target\nBefore=k3s.service k3s-agent.service\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n'
  # An interface that is there stays: pods are on it.
  printf "ExecStart=%s -c '%s link show dev %s > /dev/null 2>&1 || %s link add link %s name %s type vlan id %s'\n" \
    "$sh" "$ip" "$link" "$ip" "$PARENT" "$link" "$VLAN"
  # No address of the node's own, a link-local one included; a kernel without IPv6 has no such setting.
  printf "ExecStart=-%s -c 'echo 1 > /proc/sys/net/ipv6/conf/%s/disable_ipv6'\n" "$sh" "$link"
  printf "ExecStart=%s -c '%s link set dev %s mtu \$\$(cat /sys/class/net/%s/mtu)'\n" "$sh" "$ip" "$link" "$PARENT"
  printf 'ExecStart=%s link set dev %s up\n' "$ip" "$link"
  printf '\n[Install]\nWantedBy=multi-user.target %s\n' "$device"
} > "$file.new"
if cmp --silent "$file.new" "$file"; then
  rm -f "$file.new"
else
  mv "$file.new" "$file"
  systemctl daemon-reload
fi
systemctl enable --quiet "$unit" || undo "systemd would not enable $unit"
# It does nothing twice, and a start alone would not do again what somebody has undone.
stage "starting $unit"
timeout 45 systemctl restart "$unit" || {
  journalctl --no-pager --quiet --lines=10 --unit "$unit" >&2 || true
  [[ $(ip -oneline link show up dev "$PARENT") ]] ||
    note "$PARENT is down, and its VLANs come up only while it is up: let the node's network configuration set it up"
  undo "$unit did not start"
}
stage
there "$link" || undo "$unit has started, and there is no interface $link"
echo "vlan=$link mtu=$(< "$ROOT/sys/class/net/$link/mtu")"
