# shellcheck shell=bash
# Part of k3s-install.sh: `rotate_token` gives a cluster the token of the config.yaml on stdin, where it has another one: with that
# file alone K3s would not open its data any more. The script has ROLE, data and parts/stage.sh, and exports ROOT and LIMIT_SECONDS.
# shellcheck disable=SC2154 # data is the script's
k3s_token=$(< "${0%/*}/k3s_token.py")
rotate_token() {
  local documents
  [[ $ROLE == server && -s $data/server/cred/passwd && -s $ROOT/etc/rancher/k3s/config.yaml ]] || return 0
  documents=$(cat)
  printf '%s' "$documents" | python3 -c "$k3s_token" || exit 1
  # For who reads it next; nothing of it is on a disk.
  exec < <(printf '%s' "$documents")
}
