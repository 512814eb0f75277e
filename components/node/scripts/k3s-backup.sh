#!/usr/bin/env bash
# Writes a snapshot of this server's etcd to stdout, after a line of JSON with what a restore must know of it (k3s_backup.py).
#
# Environment:
#   LIMIT_SECONDS  whole seconds for the snapshot
# Changes: nothing that stays. While it runs, K3s's directory of snapshots has one more, k3s-macvlan-backup-…; one that a killed run has
#   left is removed.
# Exit: 0 with the line and the snapshot, both secret, on stdout and nothing else; 1 this server has no etcd, its API does not answer,
#   K3s makes no snapshot within the limit, or the token of this server would not open it, with the reason.
# K3s's own command takes the snapshot. With etcd-s3 in config.yaml it would put it there too, so that is switched off for it.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"

note() { echo "backup: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
k3s_backup=$(< "${0%/*}/k3s_backup.py")

state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s
name=k3s-macvlan-backup
options=(--etcd-snapshot-compress=false --etcd-s3=false)

[[ -d $data/server/db/etcd/member ]] ||
  fail "this server has no etcd, so K3s makes no snapshot of it: back up the database of k3s.serverConfig.datastore-endpoint by its own means"
umask 077
mkdir -p "$state"
exec 9> "$state/backup.lock"
stage "taking the lock of this node's backups"
flock --wait "$LIMIT_SECONDS" 9 || fail "another backup has been running on this node for $LIMIT_SECONDS s"

folder=$(sed -nE "s/^etcd-snapshot-dir: *[\"']?([^\"']*)[\"']? *$/\1/p" "$ROOT/etc/rancher/k3s/config.yaml" 2> /dev/null || true)
folder=${folder:-/var/lib/rancher/k3s/server/db/snapshots}
# By K3s's own command, which also deletes the snapshot's object; the file is removed whatever it says.
clean() {
  local left=("$ROOT$folder/$name"-*)
  stage
  [[ -e ${left[0]} ]] || return 0
  timeout 60 k3s etcd-snapshot delete "${options[@]}" "${left[@]##*/}" > /dev/null 2>&1 9>&- || true
  rm -f "${left[@]}"
}
trap clean EXIT
clean

stage "querying the API"
answer=$(curl --silent --show-error --fail --max-time 30 --noproxy '*' --cacert "$data/server/tls/server-ca.crt" \
  --cert "$data/server/tls/client-admin.crt" --key "$data/server/tls/client-admin.key" \
  --url https://127.0.0.1:6443/api/v1/namespaces/kube-system) ||
  fail "the API of this server does not answer: see ./lab logs, or bring K3s up first"
release=$(timeout 60 k3s --version | awk 'NR == 1 {print $3}')
stage "K3s takes a snapshot of etcd"
said=$(timeout "$LIMIT_SECONDS" k3s etcd-snapshot save "${options[@]}" --name "$name" 2>&1 9>&-) || {
  redact <<< "$said" | tail -n 5 >&2
  fail "K3s made no snapshot within $LIMIT_SECONDS s (timeouts.k3s): see its last lines above"
}
files=("$ROOT$folder/$name"-*)
[[ -f ${files[0]} && ${#files[@]} == 1 ]] ||
  fail "K3s reports a snapshot that is not in $folder: is etcd-snapshot-dir another one than config.yaml's?"
stage "looking whether this server's token opens it"
# Where a rotation was cut off, the cluster has another token than this server. A curl without HTTP/2 gets no answer.
opens=0
python3 -c "$k3s_backup" request "$ROOT" | timeout 30 curl --silent --fail --http2 --max-time 20 --noproxy '*' --data-binary @- \
  --cacert "$data/server/tls/etcd/server-ca.crt" --cert "$data/server/tls/etcd/client.crt" --key "$data/server/tls/etcd/client.key" \
  --header 'content-type: application/grpc' --header 'te: trailers' --url https://127.0.0.1:2379/etcdserverpb.KV/Range 2> /dev/null |
  python3 -c "$k3s_backup" answer "$ROOT" || opens=${PIPESTATUS[2]}
((opens != 1)) || fail "the cluster has another token than this server, with which the snapshot could not be restored: a rotation of" \
  "the token is not complete. Say ./lab up, which completes it, then take the backup again"
stage "sending the snapshot"
python3 -c "$k3s_backup" send "$ROOT" "$release" "${files[0]}" <<< "$answer"
