#!/usr/bin/env bash
# Prints the kubeconfig that K3s writes as it starts, which is long before its API answers.
#
# Environment:
#   LIMIT_SECONDS  whole seconds to wait for it at most
# Changes: nothing.
# Exit: 0 with the kubeconfig, which is a secret, on stdout and nothing else; 1 K3s was not installed, or the limit was reached.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"

note() { echo "kubeconfig: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/installation.sh"

[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
file=$ROOT/etc/rancher/k3s/k3s.yaml text=
# K3s empties the file before it writes it; the key is what comes last.
whole() {
  [[ -s $file ]] && text=$(< "$file") && [[ $text =~ client-key-data:\ [^[:space:]]+$ ]]
}

stage "waiting for $file"
until whole; do
  if installation_over && ! whole; then fail "K3s was not installed, so it has none"; fi
  ((SECONDS < LIMIT_SECONDS)) || fail "K3s has written no $file after $LIMIT_SECONDS s"
  pause 0.3
done
stage
printf '%s\n' "$text"
