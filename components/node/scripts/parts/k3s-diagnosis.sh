# shellcheck shell=bash
# Part of k3s-install.sh and k3s-certificates.sh: why K3s does not work, from its journal. The script has ROLE, unit, since, note and
# parts/redact.sh.
# shellcheck disable=SC2154 # unit and since are the script's
journal() { timeout 30 journalctl --no-pager --quiet --output=short-iso --unit "$unit" --since "@$since" "$@" 2> /dev/null || true; }

# Prints why this node cannot join, when the journal says so at least $1 times; one line may be a passing state.
# What a server says of other nodes, or of its own ports while it starts, does not count.
refusal='401 Unauthorized|not authorized|token CA hash does not match|invalid token|token is not valid|failed to validate token'
unreachable='connection refused|i/o timeout|deadline exceeded|no route to host|network is unreachable|no such host|Client\.Timeout|handshake timeout|: EOF'
diagnose() {
  local text join line
  text=$(journal --lines=2000)
  join=$(grep -Ei 'fatal|v1-k3s|cacerts|CA certs|configuration from server|agent config|validate|bootstrap|preparing server|token' <<< "$text" | grep -v 'Sending HTTP' || true)
  enough() {
    line=$(grep -Ei "$2" <<< "$3" || true)
    [[ -n $line ]] && (($(wc -l <<< "$line") >= $1)) && line=$(tail -n 1 <<< "$line")
  }
  if enough "$1" 'Node password rejected' "$text"; then
    echo "the servers know another machine under this node's name. If this VM was rebuilt, delete the old one on a server" \
      "(kubectl delete node NAME; kubectl -n kube-system delete secret NAME.node-password.k3s); else give it another name. Seen: $line"
  elif enough "$1" 'duplicate node name' "$text"; then
    echo "etcd still has a member with this node's name. Remove the old one on a server (kubectl delete node NAME) or choose" \
      "another name. Seen: $line"
  elif enough "$1" 'encrypted with different token' "$text"; then
    echo "the data on this server was made with another token: give the old token back, or rebuild the VM. Seen: $line"
  elif enough "$1" "$refusal" "$join"; then
    echo "wrong token: the server refuses the token of this node. It must be the one the first server was made with; if that" \
      "server was rebuilt with another one, rebuild this node as well. Seen: $line"
  elif enough "$1" 'critical configuration.*mismatch' "$text"; then
    echo "the servers' options differ in what must be equal on all of them (cluster-cidr, service-cidr, disable, secrets-encryption" \
      "of k3s.hardened, ...). Was such a setting changed in a run that recreates a server: take it back, run \`up\`, then set it" \
      "again in a run of its own. Seen: $line"
  elif enough "$1" 'flag provided but not defined|Incorrect Usage|failed to parse .*\.yaml' "$text"; then
    echo "this release does not understand its options: correct the K3s options in the settings. Seen: $line"
  elif (($1 == 1)); then
    [[ $ROLE == agent ]] || join=$(grep -Ev '127\.0\.0\.1|\[::1\]|localhost' <<< "$join" || true)
    if enough 1 "$unreachable" "$join"; then
      echo "the server does not answer this node: is it up, is its address right, does a firewall close port 6443? Seen: $line"
    elif enough 1 'level="?fatal' "$text"; then
      echo "K3s ended with an error: $line"
    fi
  fi
}
give_up() {
  note "$1"
  note "last journal lines of $unit:"
  journal --lines=30 | redact >&2
  exit 1
}
