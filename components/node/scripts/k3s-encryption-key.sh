#!/usr/bin/env bash
# Sees that this server has the key with which another one has encrypted the cluster's secrets: K3s takes it when it starts. Until
# then it has stored secrets as they are, so all are written again after it.
#
# Environment:
#   LIMIT_SECONDS  whole seconds from the restart until K3s works
#   POLL_SECONDS   seconds between two attempts to write the secrets, 3 by default
# Stdin: what k3s-secrets-encrypt.sh has printed on the first server.
# Changes: where it has another configuration, restarts K3s. Then each secret is written again, once, whoever has restarted K3s for the
#   key; a record of it in /var/lib/k3s-macvlan.
# Exit: 0 K3s works, with the key; 1 it does not work in time, or not all secrets could be written.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"

note() { echo "secrets: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
ROLE=server unit=k3s state=$ROOT/var/lib/k3s-macvlan data=$ROOT/var/lib/rancher/k3s
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-service.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-health.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/secrets-rewrite.sh"

IFS= read -r line || true
[[ $line =~ ^encrypted=([0-9a-f]{64})$ ]] || fail "stdin must be what the first server has printed"
wanted=${BASH_REMATCH[1]}
configuration=$data/server/cred/encryption-config.json
record=$state/secrets-written
digest() { if [[ -e $configuration ]]; then sha256sum < "$configuration" | cut -d ' ' -f 1; fi; }

if [[ $(digest) == "$wanted" ]]; then
  are_written "$wanted" || write_secrets_again "$wanted"
  stage
  echo "key=there"
  exit 0
fi
stage "restarting K3s, which then has the key of the cluster's secrets"
previous_invocation=$(unit_state InvocationID) stale=true
timeout 60 systemctl restart --no-block "$unit" || fail "systemd would not start $unit"
until is_restarted && works; do
  ((SECONDS < LIMIT_SECONDS)) || fail "K3s does not work $LIMIT_SECONDS s after its restart for the key of the cluster's secrets: see journalctl -u k3s"
  pause 1
done
are_written "$wanted" || write_secrets_again "$wanted"
stage
# Somebody may have rotated the keys since the first server printed its digest.
[[ $(digest) == "$wanted" ]] || note "the keys are others than those of the first server had been: K3s has what is in etcd"
echo "key=taken"
