#!/usr/bin/env bash
# Sees that all secrets of the cluster are encrypted in etcd, once all servers run with secrets-encryption.
# Runs on the first server.
#
# Environment:
#   LIMIT_SECONDS  whole seconds for it at most
#   HANG_SECONDS   whole seconds that K3s's own rewriting may take before it is done without K3s, 300 by default
#   POLL_SECONDS   seconds between two looks, each of which costs K3s's program two of CPU; 3 by default
# Changes: the key in /var/lib/rancher/k3s/server/cred and in etcd, by K3s; each secret is written again. A record in
#   /var/lib/k3s-macvlan.
# Exit: 0 with the digest of the encryption's configuration, which the other servers need; 1 with what stands in the way.
# A cluster that was encrypted from its first start has nothing to be done. One that was not gets its first key by K3s's
# `rotate-keys`, which rewrites all secrets. K3s reports the end of that at a place that a restart resets, so what was cut off
# is rewritten as Kubernetes documents it (tasks/administer-cluster/encrypt-data).
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"
HANG_SECONDS=${HANG_SECONDS:-300}
POLL_SECONDS=${POLL_SECONDS:-3}

note() { echo "secrets: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $HANG_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "HANG_SECONDS must be whole seconds"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/secrets-rewrite.sh"
secrets_encryption=$(< "${0%/*}/secrets_encryption.py")

configuration=$ROOT/var/lib/rancher/k3s/server/cred/encryption-config.json
record=$ROOT/var/lib/k3s-macvlan/secrets-rewritten
umask 077

# A word, and the name of the key.
state() {
  local text
  if text=$(timeout 60 k3s secrets-encrypt status --output json 2> /dev/null); then
    python3 -c "$secrets_encryption" <<< "$text"
  else
    echo silent
  fi
}

stage "looking at the encryption of secrets"
next=0 busy=
while true; do
  read -r now key <<< "$(state)"
  case $now in
    encrypted) break ;;
    interrupted | running)
      ! are_written "$key" || break
      busy=${busy:-$SECONDS}
      if [[ $now == interrupted ]] || ((SECONDS - busy >= HANG_SECONDS)); then
        write_secrets_again "$key"
        break
      fi
      ;;
    off) fail "K3s runs without secrets-encryption on this server: run pulumi refresh, then pulumi up" ;;
    disabled)
      fail "the encryption of secrets was disabled on this server: enable it again (k3s secrets-encrypt enable, then restart K3s on" \
        "every server)"
      ;;
    by-hand) fail "a rotation of the secrets' keys is half done: end it first (k3s secrets-encrypt status says where it is)" ;;
    identity)
      if ((SECONDS >= next)); then
        stage "encrypting all secrets"
        # K3s continues with it when its own command has not waited long enough.
        said=$(timeout 150 k3s secrets-encrypt rotate-keys 2>&1) || note "$(tail -n 1 <<< "$said")"
        next=$((SECONDS + 60))
      fi
      ;;
  esac
  ((SECONDS < LIMIT_SECONDS)) ||
    fail "the secrets are not all encrypted after $LIMIT_SECONDS s (last seen: $now): see journalctl -u k3s, then run it again"
  pause "$POLL_SECONDS"
done
stage
echo "encrypted=$(sha256sum < "$configuration" | cut -d ' ' -f 1)"
