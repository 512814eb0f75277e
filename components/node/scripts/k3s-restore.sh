#!/usr/bin/env bash
# Exchanges the cluster's data on this server, the first, for those of a snapshot of etcd. K3s has been stopped on all other servers.
#
# Environment:
#   SIZE           bytes of the snapshot
#   SHA256         its SHA-256
#   ENCRYPTED      true or false: whether K3s encrypts the Secrets in it
#   NODES          names of the cluster's nodes from now on, with blanks between; other nodes' objects are deleted
#   CONF_DIR       directory of CNI's configurations, e.g. /var/lib/rancher/k3s/agent/etc/cni/net.d
#   LIMIT_SECONDS  whole seconds for the snapshot to arrive, and for its restoration
#   SERVICE_LIMIT  whole seconds from each start of the service until it works
# Stdin: a line with the token of the cluster that the snapshot is of, one with its agents' token, which may be empty; then the
#   snapshot. All of it is secret.
# Changes: K3s's data: server/db/etcd is the snapshot's (what it was before is server/db/etcd-old-…, until the next restore after a
#   complete one, which k3s-rejoin.sh notes), the CA is the snapshot's, the token is config.yaml's, whose secrets-encryption becomes
#   the snapshot's. In the API: node-password secrets, nodes that are not in NODES and the program's own pods are deleted. All pods of
#   this node start again.
# Exit: 0 the API answers with the snapshot's objects; 1 with the reason. It can be repeated wherever it ended.
# The CA and its kin are in the snapshot, encrypted with that cluster's token, and its list of passwords is one of them. If config.yaml
# has other tokens, K3s runs once with the former ones and is given the new ones by its own request (k3s_token.py; `k3s token rotate`,
# v1.27.7+k3s1 and later): it opens no data of another token, and does not start where its list is newer than the shared one.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${SIZE:?}" "${SHA256:?}" "${ENCRYPTED:?}" "${NODES:?}" "${CONF_DIR:?}" "${LIMIT_SECONDS:?}" "${SERVICE_LIMIT:?}"
ROLE=server unit=k3s
state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s
k3s=$ROOT/usr/local/bin/k3s
config=$ROOT/etc/rancher/k3s/config.yaml
work=$data/server/db/k3s-macvlan-restore
# K3s reads it after config.yaml, whose values it replaces.
drop_in=$config.d/zz-k3s-macvlan-restore.yaml

note() { echo "restore: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $SERVICE_LIMIT =~ ^[0-9]{1,6}$ ]] || fail "SERVICE_LIMIT must be whole seconds"
[[ $SIZE =~ ^[0-9]{1,15}$ ]] || fail "SIZE must be whole bytes"
[[ $ENCRYPTED == true || $ENCRYPTED == false ]] || fail "ENCRYPTED must be true or false"
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
k3s_restored=$(< "${0%/*}/k3s_restored.py")
k3s_token=$(< "${0%/*}/k3s_token.py")

[[ -x $k3s && -s $config ]] || fail "K3s is not installed on this server: ./lab up installs it, then repeat the restore"
{ IFS= read -r token; IFS= read -r agent_token; } || fail "no token arrived"
wanted=$(value_of token) wanted_agents=$(value_of agent-token)
check_tokens "$token" "$wanted" "${agent_token:-none}"

umask 077
mkdir -p "$state"
# What a run that lost its connection has left running holds the lock.
stage "taking the lock of this node's installations"
take_lock "$LIMIT_SECONDS" || fail "another step has been running on this node for $LIMIT_SECONDS s: wait for its end, then repeat the restore"

stage "receiving the snapshot"
resetting=
finish() {
  stage
  [[ -z $resetting ]] || kill "$resetting" 2> /dev/null || true
  rm -rf "$work" "$drop_in"
}
trap finish EXIT
rm -rf "$work"
mkdir -p "$work"
timeout "$LIMIT_SECONDS" head -c "$SIZE" > "$work/snapshot" || fail "the snapshot did not arrive: is there room for $SIZE bytes in ${work#"$ROOT"}?"
[[ $(sha256sum < "$work/snapshot") == "$SHA256  -" ]] || fail "the snapshot arrived damaged or not whole: repeat the restore"

stop_k3s
set_encryption "$ENCRYPTED"
# As on a new machine, which is K3s's documented case: certificates of a former CA would be taken for good ones by some releases.
rm -rf "$data/server/tls" "$data/server/cred" "$data"/server/tls-[0-9]* "$data/server/db/reset-flag"
# Where the last restore was not completed (k3s-rejoin.sh, complete), what was there before it is in one of these.
[[ -e $state/restoring ]] || rm -rf "$data"/server/db/etcd-old-*
: > "$state/restoring"
mkdir -p "$data/server/db/etcd"
forget_cluster
mkdir -p "${drop_in%/*}"
printf 'token: "%s"\nagent-token: "%s"\nserver: ""\netcd-s3: false\n' "$token" "$agent_token" > "$drop_in"

stage "K3s restores the snapshot, $LIMIT_SECONDS s at most"
# It keeps the lock open, so that a second run waits for its end.
timeout "$LIMIT_SECONDS" "$k3s" server --cluster-reset "--cluster-reset-restore-path=$work/snapshot" > "$work/log" 2>&1 &
resetting=$!
wait "$resetting" || true
resetting=
# Its status says nothing: after the reset it ends with an error in some releases.
grep -q 'membership has been reset' "$work/log" || {
  redact < "$work/log" | tail -n 15 >&2
  fail "K3s did not restore the snapshot within $LIMIT_SECONDS s: its last lines are above. Repeat the restore; docs/backup.md has the way back"
}
rm -f "$work/snapshot"

if [[ $token == "$wanted" && $agent_token == "$wanted_agents" ]]; then
  rm -f "$drop_in"
  start_k3s
else
  start_k3s
  stage "K3s changes the cluster's tokens to this stack's"
  printf '{"/etc/rancher/k3s/config.yaml": {"content": "token: \\"%s\\"\\nagent-token: \\"%s\\"\\n"}}' "$wanted" "$wanted_agents" |
    FORMER=$drop_in python3 -c "$k3s_token" ||
    fail "K3s did not change the token of the restored data to the stack's: repeat the restore"
  rm -f "$drop_in"
  start_k3s
fi
stage "removing from the cluster what is not there any more"
python3 -c "$k3s_restored" "$ROOT" "$NODES" || fail "the restored cluster still has what is not there any more: repeat the restore"
echo "restored=$SHA256"
