#!/usr/bin/env bash
# Before the first server of a cluster that is there already gets secrets-encryption: K3s stores a configuration without a key for
# all servers. With the option alone each server would make a key of its own, which no other has.
#
# Environment:
#   LIMIT_SECONDS  whole seconds to wait for K3s at most
#   POLL_SECONDS   seconds between two attempts, 3 by default
# Changes: /var/lib/rancher/k3s/server/cred/encryption-config.json, and the same in etcd, both by K3s; while it does,
#   /var/lib/k3s-macvlan/encryption-begun is there.
# Exit: 0 it is there, or this server has no cluster yet, whose first start makes a key; 1 this release cannot do it, or K3s does
#   not answer.
# By K3s's source: `secrets-encrypt enable` does it since January 2026 (k3s pull request 13370). Until March a rotation that was cut
# off lost the key, and with it the secrets (k3s issue 13763). v1.32 has no release without that.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"
POLL_SECONDS=${POLL_SECONDS:-3}

note() { echo "secrets: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"

data=$ROOT/var/lib/rancher/k3s/server
configuration=$data/cred/encryption-config.json
begun=$ROOT/var/lib/k3s-macvlan/encryption-begun
if [[ ! -s $data/cred/passwd ]]; then
  echo "prepared=new"
  exit 0
fi
# K3s writes the file before it has stored it for the other servers, so it says nothing where a run was cut off between the two. What
# K3s has read since, by the option, is not touched.
if [[ -s $configuration ]] &&
  { [[ ! -e $begun ]] || grep -qs '^secrets-encryption: *true' "$ROOT/etc/rancher/k3s/config.yaml"; }; then
  rm -f "$begun"
  echo "prepared=before"
  exit 0
fi

stage "looking at the release that runs"
version=$(timeout 60 k3s --version 2> /dev/null | awk 'NR == 1 {print $3}' || true)
[[ $version =~ ^v1\.([0-9]+)\.([0-9]+) ]] || fail "K3s is not installed here, and this server has a cluster's data: leave k3s.hardened out until it runs"
minor=${BASH_REMATCH[1]} patch=${BASH_REMATCH[2]}
case $minor in
  33) least=10 ;;
  34) least=6 ;;
  35) least=3 ;;
  *) least=0 ;;
esac
((minor >= 33 && patch >= least)) ||
  fail "K3s $version cannot encrypt the secrets of a cluster that it began without: upgrade it to v1.33.10, v1.34.6, v1.35.3 or newer" \
    "first, in a run of its own (k3s.version), or set k3s.hardened on a new cluster"
active=$(timeout 30 systemctl show --property=ActiveState --value k3s 2> /dev/null || true)
[[ $active == active || $active == activating ]] ||
  fail "K3s does not run on this server: leave k3s.hardened out until it does, and see journalctl -u k3s"

stage "having K3s prepare the encryption of secrets"
mkdir -p "${begun%/*}"
[[ ! -e $begun ]] || rm -f "$configuration"
: > "$begun"
until said=$(timeout 60 k3s secrets-encrypt enable 2>&1) && [[ -s $configuration ]]; do
  ((SECONDS < LIMIT_SECONDS)) ||
    fail "K3s has not prepared the encryption of secrets within $LIMIT_SECONDS s: see journalctl -u k3s. It says: $(tail -n 1 <<< "$said")"
  # The command waits 10 s, and K3s writes the file before it has stored it. Where it is, K3s 1.36 ends the next request with a
  # panic (seen in its source); without it, it begins again. No key is in it, and nothing has read it yet.
  rm -f "$configuration"
  pause "$POLL_SECONDS"
done
rm -f "$begun"
stage
echo "prepared=now"
