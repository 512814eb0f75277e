# shellcheck shell=bash
# Part of k3s-restore.sh and k3s-rejoin.sh: the tokens in config.yaml, as this program writes it. The script has its path in
# config, and fail.
# shellcheck disable=SC2154 # the script sets it
# The value of key $1, or nothing.
value_of() { sed -nE "s/^$1: *[\"']?([^\"' ]+)[\"']? *$/\1/p" "$config"; }

# Refuses tokens that cannot be put between quotes.
check_tokens() {
  local word
  for word; do
    [[ $word =~ ^[[:graph:]]+$ && $word != *[\"\'\\]* ]] || fail "a token is empty, or has quotes or backslashes, which this script cannot hand on"
  done
}

# `set_tokens ROLE TOKEN AGENT_TOKEN` gives config.yaml the tokens of the cluster, the last of which may be empty. A rotation that was
# cut off leaves nodes with the former ones, which join nothing. A file that has them stays as it is.
set_tokens() {
  local role=$1 token=$2 agents=$3
  if [[ $role == agent ]]; then
    token=${agents:-$token} agents=''
  fi
  [[ $(value_of token) != "$token" || ($role == server && $(value_of agent-token) != "$agents") ]] || return 0
  (
    umask 077
    {
      sed '/^token:/d; /^agent-token:/d' "$config"
      printf 'token: "%s"\n' "$token"
      [[ -z $agents ]] || printf 'agent-token: "%s"\n' "$agents"
    } > "$config.new"
  )
  mv "$config.new" "$config"
}
