#!/usr/bin/env bash
# Gives a further NIC of this node its name, its MTU and the address that it is to have, which is none as a rule, kept by systemd over
# reboots and whenever the NIC is attached again.
#
# Environment:
#   ACTION         on or off
#   NAME           the NIC's name, e.g. enp2s0
#   MAC            its MAC address, by which it is found
#   OTHERS         MAC addresses of the node's other further NICs, with blanks between (may be empty): one that has NAME until it gets
#                  its own gives it up
#   MTU            in bytes (may be empty: the NIC's own)
#   ADDRESS        none, dhcp, or an IPv4 address with the length of its prefix, e.g. 10.0.0.5/24
#   LIMIT_SECONDS  with on: whole seconds until the NIC is there
# Changes: files of the NIC for udev, systemd-networkd and NetworkManager, unit k3s-macvlan-nic-NAME.service, the NIC itself; off removes
# the files and the unit, and sets a NIC that is still there down unless something is on it.
# Exit: 0 done; 1 with the reason: no such NIC, a name that another interface has, no program that queries a DHCP server.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ACTION:?}" "${NAME:?}" "${MAC:?}"

note() { echo "nic: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"

[[ $NAME =~ ^[A-Za-z][A-Za-z0-9_-]{0,14}$ ]] || fail "NAME is no name of a NIC"
[[ $MAC =~ ^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$ ]] || fail "MAC is not a MAC address"
mac=${MAC,,}
unit=k3s-macvlan-nic-$NAME.service
file=$ROOT/etc/systemd/system/$unit
# Before what images and netplan bring for every NIC (10-netplan-all-en.network of Debian's).
link_file=$ROOT/etc/systemd/network/05-k3s-macvlan-nic-$NAME.link
network_file=$ROOT/etc/systemd/network/05-k3s-macvlan-nic-$NAME.network
manager_file=$ROOT/etc/NetworkManager/conf.d/05-k3s-macvlan-nic-$NAME.conf
connection_file=$ROOT/etc/NetworkManager/system-connections/k3s-macvlan-nic-$NAME.nmconnection
# Units of VLANs and of the node's own access start after the NIC is up (systemd reads these for each unit with such a name).
vlan_file=$ROOT/etc/systemd/system/k3s-macvlan-vlan-.service.d/nic-$NAME.conf
access_file=$ROOT/etc/systemd/system/k3s-macvlan-access-.service.d/nic-$NAME.conf
files=("$link_file" "$network_file" "$manager_file" "$connection_file" "$vlan_file" "$access_file")

there() { [[ -e $ROOT/sys/class/net/$1 ]]; }
active() { systemctl is-active --quiet "$1"; }
# found MAC: sets interface to the NIC that has it. What is layered on a NIC may have its MAC address, and is no device.
interface=''
found() {
  local folder address
  interface=''
  for folder in "$ROOT"/sys/class/net/*; do
    [[ -e $folder/device && -r $folder/address ]] || continue
    read -r address < "$folder/address" || continue
    if [[ ${address,,} == "$1" ]]; then
      interface=${folder##*/}
      return 0
    fi
  done
  return 1
}
reload() {
  udevadm control --reload || fail "udev would not read its files again"
  if active systemd-networkd.service; then
    networkctl reload || fail "systemd-networkd would not read its files again"
  fi
  if active NetworkManager.service; then
    nmcli general reload conf || fail "NetworkManager would not read its files again"
    nmcli connection reload || fail "NetworkManager would not read its connections again"
  fi
}
# The steps of several NICs run at once, and may have names of each other.
mkdir -p "$ROOT/run/lock"
exec 9> "$ROOT/run/lock/k3s-macvlan-nic.lock"
flock --wait 120 9 || fail "steps of other NICs have been running on this node for 120 s"

if [[ $ACTION == off ]]; then
  if [[ -e $file ]]; then
    systemctl disable --quiet --now "$unit" || fail "systemd would not disable $unit"
  fi
  changed=''
  for path in "${files[@]}"; do
    [[ ! -e $path ]] || { rm -f "$path"; changed=1; }
  done
  [[ -z $changed && ! -e $file ]] || reload
  # The NIC is ours while the unit's file is there, which is why that is removed last.
  if [[ -e $file ]] && found "$mac"; then
    upper=("$ROOT/sys/class/net/$interface"/upper_*)
    if [[ ! -e ${upper[0]} ]]; then
      ip address flush dev "$interface"
      ip link set dev "$interface" down
    fi
  fi
  if [[ -e $file ]]; then
    rm -f "$file"
    systemctl daemon-reload
  fi
  echo "nic=$NAME removed"
  exit 0
fi
[[ $ACTION == on ]] || fail "ACTION must be on or off"
OTHERS=${OTHERS:-} MTU=${MTU:-} ADDRESS=${ADDRESS:-none}
[[ $OTHERS =~ ^[0-9A-Fa-f:\ ]*$ ]] || fail "OTHERS must be MAC addresses"
[[ $MTU =~ ^[0-9]{0,5}$ ]] || fail "MTU must be whole bytes"
[[ $ADDRESS =~ ^(none|dhcp|[0-9.]+/[0-9]{1,2})$ ]] || fail "ADDRESS must be none, dhcp or an IPv4 address with its prefix"
[[ ${LIMIT_SECONDS:-} =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
ip=$(command -v ip) || fail "ip is missing: install iproute2"
sh=$(command -v sh)

until found "$mac"; do
  ((SECONDS < LIMIT_SECONDS)) || {
    ls "$ROOT/sys/class/net" >&2
    fail "no NIC has the MAC address $mac within $LIMIT_SECONDS s; the interfaces are listed above. A machine that cannot have it attached while it runs has it after its next start: look at the hypervisor (virsh domiflist) and the kernel (dmesg)"
  }
  [[ -n $beat ]] || stage "waiting for a NIC with the MAC address $mac"
  pause 1
done
stage
# udev gives a new NIC a name of its own first.
udevadm settle --timeout=20 || note "udev is still at work on new devices"
found "$mac" || fail "the NIC with the MAC address $mac was there, and is gone again"

# The program that queries a DHCP server, and the other one, which is to leave the NIC alone.
by='' manager=''
if active systemd-networkd.service; then by=networkd; fi
if active NetworkManager.service; then by=${by:-manager} manager=1; fi
[[ $ADDRESS != dhcp || -n $by ]] ||
  fail "neither systemd-networkd nor NetworkManager runs on this node, so nobody would ask a DHCP server: set an address in place of dhcp"

# write PATH MODE: the file, from stdin, unless it is so already; sets changed. A run that ended before it was done has left begun.
begun=$ROOT/run/k3s-macvlan-nic-$NAME changed=''
[[ ! -e $begun ]] || changed=1
write() {
  mkdir -p "${1%/*}"
  (umask "$2" && cat > "$1.new")
  if cmp --silent "$1.new" "$1"; then
    rm -f "$1.new"
  else
    : > "$begun"
    mv "$1.new" "$1"
    changed=1
  fi
}
# A VLAN on the NIC has its MAC address and another type.
write "$link_file" 022 < <(
  printf '[Match]\nMACAddress=%s\nType=ether\n\n[Link]\nName=%s\n' "$mac" "$NAME"
  [[ -z $MTU ]] || printf 'MTUBytes=%s\n' "$MTU"
)
if [[ $ADDRESS == dhcp ]]; then
  write "$network_file" 022 < <(
    printf '[Match]\nMACAddress=%s\nType=ether\n\n[Link]\nRequiredForOnline=no\n' "$mac"
    [[ -z $MTU ]] || printf 'MTUBytes=%s\n' "$MTU"
    printf '\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n'
    printf '[DHCPv4]\nClientIdentifier=mac\nUseGateway=no\nUseRoutes=no\nUseDNS=no\nUseDomains=no\nUseNTP=no\nUseHostname=no\nUseMTU=no\n'
  )
else
  write "$network_file" 022 < <(printf '[Match]\nMACAddress=%s\nType=ether\n\n[Link]\nUnmanaged=yes\n' "$mac")
fi
if [[ $by == manager && $ADDRESS == dhcp ]]; then
  [[ ! -e $manager_file ]] || { : > "$begun"; rm -f "$manager_file"; changed=1; }
  write "$connection_file" 077 < <(
    printf '[connection]\nid=k3s-macvlan-nic-%s\ntype=ethernet\nautoconnect=true\n\n[ethernet]\nmac-address=%s\n' "$NAME" "$mac"
    [[ -z $MTU ]] || printf 'mtu=%s\n' "$MTU"
    printf '\n[ipv4]\nmethod=auto\nnever-default=true\nignore-auto-routes=true\nignore-auto-dns=true\n\n[ipv6]\nmethod=disabled\n'
  )
elif [[ -n $manager ]]; then
  [[ ! -e $connection_file ]] || { : > "$begun"; rm -f "$connection_file"; changed=1; }
  write "$manager_file" 022 < <(printf '[device-k3s-macvlan-nic-%s]\nmatch-device=mac:%s\nmanaged=0\n' "$NAME" "$mac")
fi

for path in "$vlan_file" "$access_file"; do
  write "$path" 022 < <(printf '[Unit]\nAfter=%s\n' "$unit")
done
device=sys-subsystem-net-devices-${NAME//-/\\x2d}.device
write "$file" 022 < <(
  printf '[Unit]\nDescription=NIC %s of this node\nBindsTo=%s\nAfter=%s\n' "$NAME" "$device" "$device"
  printf 'Before=k3s.service k3s-agent.service\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n'
  if [[ $ADDRESS != dhcp ]]; then
    # No address of the node's own but the given one, a link-local one included; a kernel without IPv6 has no such setting.
    printf "ExecStart=-%s -c 'echo 1 > /proc/sys/net/ipv6/conf/%s/disable_ipv6'\n" "$sh" "$NAME"
  fi
  [[ -z $MTU ]] || printf 'ExecStart=%s link set dev %s mtu %s\n' "$ip" "$NAME" "$MTU"
  printf 'ExecStart=%s link set dev %s up\n' "$ip" "$NAME"
  if [[ $ADDRESS == */* ]]; then
    printf 'ExecStart=%s address replace %s dev %s\n' "$ip" "$ADDRESS" "$NAME"
  fi
  printf '\n[Install]\nWantedBy=multi-user.target %s\n' "$device"
)
if [[ -n $changed ]]; then
  systemctl daemon-reload
  reload
fi

# rename OLD NEW: an interface that is up keeps its name.
rename() {
  ip link set dev "$1" down || fail "$1 could not be set down, to be renamed to $2"
  ip link set dev "$1" name "$2" || fail "$1 could not be renamed to $2"
}
if [[ $interface != "$NAME" ]]; then
  if there "$NAME"; then
    nic=$interface other=''
    for address in $OTHERS; do
      if found "${address,,}" && [[ $interface == "$NAME" ]]; then other=$address; fi
    done
    [[ -n $other ]] || fail "another interface has the name $NAME on this node, and the NIC with the MAC address $mac is $nic: name that otherwise (name in nics), or rename the other one"
    # It gets its own name by its own step.
    rename "$NAME" "was${other//:/}"
    interface=$nic
  fi
  rename "$interface" "$NAME"
fi
# What whoever configures new NICs gave it before it was known. Later addresses are those of hands.
if [[ -n $changed && $ADDRESS != dhcp ]]; then
  ip address flush dev "$NAME" || fail "the addresses that $NAME was given could not be removed"
fi

systemctl enable --quiet "$unit" || fail "systemd would not enable $unit"
stage "starting $unit"
timeout 45 systemctl restart "$unit" || {
  journalctl --no-pager --quiet --lines=10 --unit "$unit" >&2 || true
  fail "$unit did not start"
}
stage
if [[ $ADDRESS == dhcp && $by == networkd ]]; then
  networkctl reconfigure "$NAME" || fail "systemd-networkd would not configure $NAME"
elif [[ $ADDRESS == dhcp ]]; then
  nmcli connection up "k3s-macvlan-nic-$NAME" > /dev/null || fail "NetworkManager got no address for $NAME"
fi
rm -f "$begun"
echo "nic=$NAME mac=$mac mtu=$(< "$ROOT/sys/class/net/$NAME/mtu") address=$ADDRESS"
