#!/usr/bin/env bash
# Stops K3s on a node whose cluster is restored elsewhere, or lets it join the restored cluster.
#
# Environment:
#   STEP           stop or join
#   ROLE           server or agent
#   ENCRYPTED      of a server that joins: true or false, whether K3s encrypts the Secrets of the restored cluster
#   CONF_DIR       directory of CNI's configurations, e.g. /var/lib/rancher/k3s/agent/etc/cni/net.d
#   SERVICE_LIMIT  whole seconds from the start of the service until it works
# Changes: K3s and all pods of this node stop; with join the node gives up what it had of the former cluster (a server its etcd data and
#   certificates, each its kubelet's certificates), a server's secrets-encryption is that of the restored one, and K3s starts.
#   Snapshots, images and volumes stay.
# Exit: 0 done; 1 with the reason. It can be repeated wherever it ended.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${STEP:?}" "${ROLE:?}" "${CONF_DIR:?}" "${SERVICE_LIMIT:?}"
state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s

note() { echo "restore: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $SERVICE_LIMIT =~ ^[0-9]{1,6}$ ]] || fail "SERVICE_LIMIT must be whole seconds"
[[ $STEP == stop || $STEP == join ]] || fail "STEP must be stop or join"
case $ROLE in
  server) unit=k3s ;;
  agent) unit="k3s-agent" ;;
  *) fail "ROLE must be server or agent" ;;
esac
[[ $STEP-$ROLE != join-server || ${ENCRYPTED:-} == true || ${ENCRYPTED:-} == false ]] || fail "ENCRYPTED must be true or false"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/installation.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-service.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-health.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-diagnosis.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-stop.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-start.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-encryption.sh"

[[ -x $ROOT/usr/local/bin/k3s ]] || fail "K3s is not installed on this node: ./lab up installs it, then repeat the restore"
umask 077
mkdir -p "$state"
stage "taking the lock of this node's installations"
take_lock "$SERVICE_LIMIT" || fail "another step has been running on this node for $SERVICE_LIMIT s: wait for its end, then repeat the restore"
stop_k3s
if [[ $STEP == stop ]]; then
  echo "stopped=$unit"
  exit 0
fi
if [[ $ROLE == server ]]; then
  rm -rf "$data"/server/db/etcd "$data"/server/db/reset-flag "$data"/server/tls "$data"/server/cred "$data"/server/token
  set_encryption "$ENCRYPTED"
fi
forget_cluster
start_k3s
echo "joined=$unit"
