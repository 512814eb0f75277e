#!/usr/bin/env bash
# Prints the token of the cluster whose data are on this server's data disk. With another one K3s does not open them.
#
# Environment: none.
# Changes: nothing.
# Exit: 0 with the token, which is a secret, on stdout and nothing else; nothing where the disk has no cluster yet.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}

file=$ROOT/var/lib/rancher/k3s/server/token text=
if [[ -s $file ]]; then text=$(< "$file"); fi
# K10, the hash of the CA, the user's name and the token.
if [[ $text =~ ^K10[0-9a-f]+::server:([^[:space:]]+)$ ]]; then text=${BASH_REMATCH[1]}; fi
printf '%s' "$text"
