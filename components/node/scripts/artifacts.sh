#!/usr/bin/env bash
# Takes the files that replace downloads from the node's read-only artifact disk: image archives to where K3s imports them
# from when it starts, the rest into a directory for the scripts that need it.
#
# Environment:
#   DIGEST         names the disk: its first member is k3s-macvlan-artifacts-DIGEST.json
#   LIMIT_SECONDS  whole seconds at most
# Changes: /var/lib/k3s-macvlan/artifacts/DIGEST, and no other there; k3s-macvlan-* in /var/lib/rancher/k3s/agent/images.
# Exit: 0 all files are there, each with its SHA-256; 1 with the reason. What is there already is not copied again.
# A file's time follows from its content: by size and time K3s knows what it has imported (docs.k3s.io, Import Images).
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${DIGEST:?}" "${LIMIT_SECONDS:?}"

fail() { echo "artifacts: $*" >&2; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $DIGEST =~ ^[0-9a-f]{8,64}$ ]] || fail "DIGEST must be hexadecimal digits"

artifact_files=$(< "${0%/*}/artifact_files.py")
umask 022
mkdir -p "$ROOT/run/lock"
exec 9> "$ROOT/run/lock/k3s-macvlan-artifacts.lock"
until flock --wait 10 9; do
  ((SECONDS < LIMIT_SECONDS)) || fail "another run has been copying artifacts on this node for $LIMIT_SECONDS s"
  echo "artifacts: waiting for another run, $SECONDS s" >&2
done
python3 -c "$artifact_files"
