#!/usr/bin/env bash
# Reports when K3s's certificates of this node end, and has K3s make new ones when that is requested.
#
# Environment:
#   ROLE           server or agent
#   RENEW          empty: report alone; due: new ones if one of them ends before UNTIL; now: new ones
#   UNTIL          a time, as 2027-11-26T10:00:00Z
#   LIMIT_SECONDS  whole seconds to wait for the certificates of a node that is being installed, or for its installation's end
#   SERVICE_LIMIT  whole seconds from the restart of K3s until it works
# Changes: with RENEW K3s's certificates and keys, but for the authorities; K3s is restarted, and pods run on. K3s keeps the former
#   ones in server/tls-TIME, or agent/tls-TIME.
# Exit: 0 with the lines of k3s_certificates.py and `renewed yes` or `renewed no`; 1 with the reason.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${ROLE:?}" "${LIMIT_SECONDS:?}" "${SERVICE_LIMIT:?}"
RENEW=${RENEW:-}
UNTIL=${UNTIL:-}

state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s
k3s=$ROOT/usr/local/bin/k3s

note() { echo "certificates: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $SERVICE_LIMIT =~ ^[0-9]{1,6}$ ]] || fail "SERVICE_LIMIT must be whole seconds"
[[ $UNTIL =~ ^([0-9T:-]+Z)?$ ]] || fail "UNTIL must be a time"
case $RENEW in '' | due | now) ;; *) fail "RENEW must be due or now" ;; esac
case $ROLE in
  server) unit=k3s earliest=$data/server/tls/client-admin.crt ;;
  agent) unit="k3s-agent" earliest=$data/agent/client-kubelet.crt ;;
  *) fail "ROLE must be server or agent" ;;
esac
unit_file=$ROOT/etc/systemd/system/$unit.service

# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/installation.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-service.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-health.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-diagnosis.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-works.sh"
k3s_certificates=$(< "${0%/*}/k3s_certificates.py")

# Sets report, and ends: when the first of the certificates does.
read_certificates() {
  report=$(python3 -c "$k3s_certificates") || report=
  [[ $report =~ ^certificate\ ([^ ]+)\  ]] && ends=${BASH_REMATCH[1]} || ends=
}

if [[ -z $RENEW ]]; then
  stage "waiting for the certificates"
  until [[ -s $earliest ]] && read_certificates && [[ -n $ends ]]; do
    if installation_over && [[ ! -s $earliest ]]; then fail "K3s was not installed, so it has none"; fi
    ((SECONDS < LIMIT_SECONDS)) || fail "K3s has none after $LIMIT_SECONDS s"
    pause 0.5
  done
  stage
  printf '%s\nrenewed no\n' "$report"
  exit 0
fi

umask 077
mkdir -p "$state"
stage "waiting for the node's installation to end"
take_lock "$LIMIT_SECONDS" || fail "an installation has been running on this node for $LIMIT_SECONDS s"
read_certificates
if [[ $RENEW == due && -n $ends && $ends > $UNTIL ]]; then
  note "none ends before $UNTIL any more: K3s has renewed them, and is not restarted"
  printf '%s\nrenewed no\n' "$report"
  exit 0
fi
former=$ends
previous_invocation=$(unit_state InvocationID) stale=true since=$(date +%s)
stage "new ones instead of those until ${former:-now}; K3s is restarted"
# A unit of its own continues when this script is ended on the way: K3s must not stay without its files, or stopped. The rotation
# does not fail it, since until v1.30 it knew no agents (k3s-io/k3s 4cc73b1fe): an agent gets new ones by each start.
systemd-run --quiet --collect --no-block --unit=k3s-macvlan-certificates -- \
  /bin/sh -c "systemctl stop $unit; $k3s certificate rotate; systemctl start --no-block $unit" ||
  fail "systemd would not start the renewal: is one under way? See journalctl -u k3s-macvlan-certificates"
until_it_works
read_certificates
[[ $ends > $former ]] ||
  fail "K3s was restarted, and a certificate still ends ${ends:-at no time that can be read}, as before: see journalctl -u k3s-macvlan-certificates and the clock of this node, then run it again"
stage
printf '%s\nrenewed yes\n' "$report"
