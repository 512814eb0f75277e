#!/usr/bin/env bash
# Runs the daemon of the CNI plugin dhcp on this node: it requests the pods' leases and renews them.
#
# Environment:
#   ACTION     on or off
#   BIN_DIR    directory of the CNI plugins, with the program dhcp in it
#   LIMIT_SECONDS  with off: whole seconds to wait for pods with its leases to end (may be empty: 30)
# Changes: units k3s-macvlan-dhcp.socket, k3s-macvlan-dhcp.service and k3s-macvlan-dhcp-leases.service, and
# /var/lib/k3s-macvlan/pod_interfaces.py; off removes them, and so does a first run that fails. The plugin finds the daemon at
# /run/cni/dhcp.sock; with a socket of systemd's a request while the daemon restarts waits for it.
# Exit: 0 done; 1 with the reason: no program, a daemon of another's at that socket, with off pods that have leases, because the plugin
# ends no pod without its daemon.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ACTION:?}"
LIMIT_SECONDS=${LIMIT_SECONDS:-30}
name=k3s-macvlan-dhcp socket=/run/cni/dhcp.sock
units=$ROOT/etc/systemd/system
program=/var/lib/k3s-macvlan/pod_interfaces.py

note() { echo "dhcp: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"

pod_interfaces=$(< "${0%/*}/pod_interfaces.py")
remove() {
  systemctl disable --quiet --now "$name-leases.service" "$name.socket" "$name.service" || fail "systemd would not stop $name"
  rm -f "$units/$name-leases.service" "$units/$name.socket" "$units/$name.service" "$ROOT$program"
  systemctl daemon-reload
}

case $ACTION in
  off)
    [[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
    while [[ -e $units/$name.service ]]; do
      pods=$(python3 -c "$pod_interfaces" leased "$socket" "$ROOT")
      [[ -n $pods ]] || break
      ((SECONDS < LIMIT_SECONDS)) ||
        fail "the daemon stays, because pods have leases of it and could neither renew them nor end without it: ${pods//$'\n'/, }. Delete them, then repeat this step"
      [[ -n $beat ]] || stage "waiting for pods with leases to end: ${pods//$'\n'/, }"
      pause 1
    done
    stage
    [[ ! -e $units/$name.service && ! -e $units/$name.socket ]] || remove
    echo "dhcp=off"
    exit 0
    ;;
  on) ;;
  *) fail "ACTION must be on or off" ;;
esac
: "${BIN_DIR:?}"
[[ $BIN_DIR =~ ^/[A-Za-z0-9._/+@-]+$ ]] || fail "BIN_DIR must be an absolute path"
[[ -x $ROOT$BIN_DIR/dhcp ]] || fail "$BIN_DIR/dhcp is not there: it comes with the step that installs the CNI plugins"
former=''
[[ ! -e $units/$name.socket ]] || former=1
if [[ -z $former && -e $ROOT$socket ]]; then
  fail "$socket is there already, of another daemon of this plugin: remove that one (a DaemonSet or unit of yours), whose leases this one would not know. If none runs, delete the file"
fi

# undo TEXT: fails, and leaves nothing of a first run.
undo() {
  note "$@"
  [[ -n $former ]] || (remove) || true
  exit 1
}
umask 022
mkdir -p "$ROOT${program%/*}" "$units"
changed=
# write FILE LINE...: atomically; notes whether it is another than before.
write() {
  printf '%s\n' "${@:2}" > "$1.new"
  if cmp --silent "$1.new" "$1"; then rm -f "$1.new"; else mv "$1.new" "$1"; changed+=" ${1##*.}"; fi
}
write "$ROOT$program" "$pod_interfaces"
write "$units/$name.socket" '[Unit]' "Description=Socket of the CNI plugin dhcp's daemon" 'Before=k3s.service k3s-agent.service' '' \
  '[Socket]' "ListenStream=$socket" 'SocketMode=0600' 'RemoveOnStop=yes' '' '[Install]' 'WantedBy=sockets.target'
# The daemon deletes its socketpath when it ends, and the socket is systemd's; it forgets its leases then, but not the server.
# Without a limit of starts: until a new K3s of the old layout has its plugins, the program is not there.
write "$units/$name.service" '[Unit]' 'Description=Leases of pods on networks with ipam dhcp' "Requires=$name.socket" \
  "After=$name.socket network.target" 'StartLimitIntervalSec=0' '' \
  '[Service]' 'Type=exec' "ExecStart=$BIN_DIR/dhcp daemon -socketpath /run/$name.unused" \
  "ExecStartPost=-/usr/bin/env python3 $program leases $BIN_DIR/dhcp $socket \"\"" \
  'Restart=always' 'RestartSec=2' 'TimeoutStartSec=120' '' '[Install]' 'WantedBy=multi-user.target'
# The daemon gives a lease up after two or three minutes without an answer, so each is requested again: the router may start later.
write "$units/$name-leases.service" '[Unit]' 'Description=Requests of leases that the daemon has lost' "BindsTo=$name.service" \
  "After=$name.service" 'StartLimitIntervalSec=0' '' \
  '[Service]' 'Type=exec' "ExecStart=/usr/bin/env python3 $program leases $BIN_DIR/dhcp $socket \"\"" \
  'Restart=on-failure' 'RestartSec=30' '' '[Install]' "WantedBy=$name.service"
[[ -z $changed ]] || systemctl daemon-reload
systemctl enable --quiet "$name.socket" "$name.service" "$name-leases.service" || undo "systemd would not enable $name"
# The socket's restart is its service's too. A file that somebody has deleted is not made again by a start.
if [[ $changed == *socket* ]] || { systemctl is-active --quiet "$name.socket" && [[ ! -e $ROOT$socket ]]; }; then
  systemctl restart "$name.socket" || undo "systemd would not listen on $socket"
else
  systemctl start "$name.socket" || undo "systemd would not listen on $socket"
fi
if [[ -n $changed ]] || ! systemctl is-active --quiet "$name.service"; then
  stage "starting the daemon, which asks for the leases of pods that run"
  printf -v since '@%(%s)T' -1
  timeout 150 systemctl restart "$name.service" || {
    journalctl --no-pager --quiet --lines=10 --unit "$name.service" >&2 || true
    undo "$name.service did not start"
  }
  stage
  journalctl --no-pager --quiet --output=cat --since="$since" --unit "$name.service" | grep '^dhcp: pod ' >&2 || true
fi
echo "dhcp=on socket=$socket"
