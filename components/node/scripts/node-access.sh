#!/usr/bin/env bash
# Lets this node reach the macvlan pods that run on it: a macvlan interface of the node's own on the same parent, with an
# address and a route for the pods' addresses, kept by a systemd unit over reboots.
#
# Environment:
#   ACTION     on or off
#   LINK       name of the node's own interface, e.g. mva-1a2b3c4d
#   PARENT     the pods' parent interface, e.g. enp1s0
#   ADDRESS    IPv4 address of the node's own interface, nobody else's
#   RANGES     the pods' addresses as networks, with blanks between, e.g. "192.168.122.200/29 192.168.122.208/31"
# Changes: unit k3s-macvlan-access-LINK.service and interface LINK; off removes both.
# Exit: 0 done; 1 with the reason.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ACTION:?}" "${LINK:?}"

fail() { echo "access: $*" >&2; exit 1; }
[[ $LINK =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$ ]] || fail "LINK is no interface name"
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"
link=$LINK unit=k3s-macvlan-access-$LINK.service
file=$ROOT/etc/systemd/system/$unit

case $ACTION in
  off)
    if [[ -e $file ]]; then
      systemctl disable --quiet --now "$unit" || fail "systemd would not stop $unit"
      rm -f "$file"
      systemctl daemon-reload
    fi
    ip link delete "$link" 2> /dev/null || true
    echo "access=off"
    exit 0
    ;;
  on) ;;
  *) fail "ACTION must be on or off" ;;
esac
: "${PARENT:?}" "${ADDRESS:?}" "${RANGES:?}"
[[ $PARENT =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$ ]] || fail "PARENT is no interface name"
[[ $ADDRESS =~ ^[0-9.]+$ ]] || fail "ADDRESS is no IPv4 address"
[[ $RANGES =~ ^[0-9./\ ]+$ ]] || fail "RANGES must be IPv4 networks"
[[ -e $ROOT/sys/class/net/$PARENT ]] || fail "there is no interface $PARENT on this node (parent and vlan of the network)"
ip=$(command -v ip) || fail "ip is missing: install $(package_of ip)"

umask 022
{
  printf '[Unit]\nDescription=This node reaches its own macvlan pods\nAfter=network-online.target k3s-macvlan-vlan-%s.service\nWants=network-online.target\n\n' "$PARENT"
  printf '[Service]\nType=oneshot\nRemainAfterExit=yes\n'
  printf 'ExecStartPre=-%s link delete %s\n' "$ip" "$link"
  printf 'ExecStart=%s link add %s link %s type macvlan mode bridge\n' "$ip" "$link" "$PARENT"
  printf 'ExecStart=%s address add %s/32 dev %s\n' "$ip" "$ADDRESS" "$link"
  printf 'ExecStart=%s link set %s up\n' "$ip" "$link"
  read -ra ranges <<< "$RANGES"
  for range in "${ranges[@]}"; do
    printf 'ExecStart=%s route replace %s dev %s src %s\n' "$ip" "$range" "$link" "$ADDRESS"
  done
  printf 'ExecStop=-%s link delete %s\n\n[Install]\nWantedBy=multi-user.target\n' "$ip" "$link"
} > "$file.new"
mv "$file.new" "$file"
systemctl daemon-reload
systemctl enable --quiet "$unit"
timeout 15 systemctl restart "$unit" || {
  journalctl --no-pager --quiet --lines=10 --unit "$unit" >&2 || true
  fail "$unit did not start"
}
echo "access=on interface=$link address=$ADDRESS"
