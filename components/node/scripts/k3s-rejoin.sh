#!/usr/bin/env bash
# Stops K3s on a node whose cluster is restored elsewhere, or lets it join the restored cluster; or notes that the restore is complete.
#
# Environment:
#   STEP           stop or join; on the first server complete, at the end of all
#   ROLE           server or agent
#   ENCRYPTED      of a server that joins: true or false, whether K3s encrypts the Secrets of the restored cluster
#   CONF_DIR       directory of CNI's configurations, e.g. /var/lib/rancher/k3s/agent/etc/cni/net.d
#   SERVICE_LIMIT  whole seconds from the start of the service until it works
# Stdin: with join a line with the restored cluster's token, and one with its agents' token, which may be empty; both are secret.
# Changes: K3s and all pods of this node stop; with join the node gives up what it had of the former cluster (a server its etcd data and
#   certificates, each its kubelet's certificates), its tokens and a server's secrets-encryption are those of the restored one, and K3s
#   starts. Snapshots, images and volumes stay. With complete the next restore may delete what this one has exchanged.
# Exit: 0 done; 1 with the reason. It can be repeated wherever it ended.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${STEP:?}" "${ROLE:?}" "${CONF_DIR:?}" "${SERVICE_LIMIT:?}"
state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s
config=$ROOT/etc/rancher/k3s/config.yaml

note() { echo "restore: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $SERVICE_LIMIT =~ ^[0-9]{1,6}$ ]] || fail "SERVICE_LIMIT must be whole seconds"
[[ $STEP == stop || $STEP == join || $STEP == complete ]] || fail "STEP must be stop, join or complete"
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
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-tokens.sh"

if [[ $STEP == complete ]]; then
  rm -f "$state/restoring"
  echo "complete=$unit"
  exit 0
fi
[[ -x $ROOT/usr/local/bin/k3s ]] || fail "K3s is not installed on this node: ./lab up installs it, then repeat the restore"
token='' agent_token=''
if [[ $STEP == join ]]; then
  { IFS= read -r token; IFS= read -r agent_token; } || fail "no token arrived"
  check_tokens "$token" "${agent_token:-none}"
fi
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
set_tokens "$ROLE" "$token" "$agent_token"
forget_cluster
start_k3s
echo "joined=$unit"
