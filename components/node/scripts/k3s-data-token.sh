#!/usr/bin/env bash
# Prints the servers' token of the cluster whose data this server has, as on a data disk that was kept, and on a second line the
# agents', where they have one of their own. With another servers' token K3s does not open the data; with another agents' token it starts once, and then
# never again, because its list of passwords is newer than the one that is stored (rancher/rke2 issue 5785).
#
# Environment: none.
# Changes: nothing.
# Exit: 0 with the tokens, which are secrets, on stdout and nothing else; nothing where it has no cluster yet.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}

data=$ROOT/var/lib/rancher/k3s/server text=
file=$data/token
if [[ -s $file ]]; then text=$(< "$file"); fi
# K10, the hash of the CA, the user's name and the token.
if [[ $text =~ ^K10[0-9a-f]+::server:([^[:space:]]+)$ ]]; then text=${BASH_REMATCH[1]}; fi
[[ $text ]] || exit 0
echo "$text"
# A row: password, user, identity, groups.
if [[ -s $data/cred/passwd ]]; then
  while IFS=, read -r password user _; do
    if [[ $user == node && $password != "$text" ]]; then echo "$password"; fi
  done < "$data/cred/passwd"
fi
