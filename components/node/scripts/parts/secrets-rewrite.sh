# shellcheck shell=bash
# Part of scripts: `write_secrets_again WORD` reads all secrets of the cluster and writes them, so that each is encrypted with the key
# that this server has now (Kubernetes: tasks/administer-cluster/encrypt-data), and writes the word, which names the key, into the file
# $record; `are_written WORD` is whether it is there. Needs record, `stage`, `note`, `fail` and `pause`.
# shellcheck disable=SC2154 # record is the script's
are_written() { [[ $(cat "$record" 2> /dev/null || true) == "$1" ]]; }
# What others change meanwhile is refused, and read again.
write_secrets_again() {
  local attempt said=''
  stage "writing all secrets again"
  for attempt in 1 2 3; do
    if said=$(timeout 90 k3s kubectl get secrets --all-namespaces -o json | timeout 90 k3s kubectl replace -f - 2>&1 > /dev/null); then
      mkdir -p "${record%/*}"
      echo "$1" > "$record"
      return
    fi
    note "attempt $attempt: $(tail -n 1 <<< "$said")"
    pause "${POLL_SECONDS:-3}"
  done
  fail "not all secrets could be written again: see that the API answers, then run it again"
}
