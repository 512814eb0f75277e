# shellcheck shell=bash
# Part of k3s-install.sh: `check_step` refuses a release that K3s cannot be taken to from the one that runs here (docs.k3s.io/upgrades),
# and `wait_for_servers` lets an agent that has another release wait until all servers have K3S_VERSION. The script has ROLE,
# K3S_VERSION, SERVER, LIMIT_SECONDS, state, k3s, data, fail, installed_version, parts/stage.sh and parts/pause.sh.
# shellcheck disable=SC2154 # state, k3s and data are the script's
# What a prepared image brought has not run here.
check_step() {
  local from minor patch
  from=$(installed_version)
  [[ -e $state/started && $from =~ ^v1\.([0-9]+)\.([0-9]+) ]] || return 0
  minor=${BASH_REMATCH[1]} patch=${BASH_REMATCH[2]}
  [[ $K3S_VERSION =~ ^v1\.([0-9]+)\.([0-9]+) ]] || return 0
  ((BASH_REMATCH[1] > minor || (BASH_REMATCH[1] == minor && BASH_REMATCH[2] >= patch))) ||
    fail "$K3S_VERSION is older than $from, which is installed here: K3s cannot go back (k3s.version)"
  ((BASH_REMATCH[1] <= minor + 1)) ||
    fail "$K3S_VERSION skips minor releases after $from, which is installed here: a v1.$((minor + 1)) release first (k3s.version)"
}
server_versions=$(< "${0%/*}/server_versions.py")
# The servers that have another release, from the API as this node's kube-proxy may read it: unlike a list of addresses
# given here, that one changes nothing on this node when a server is added. Fails where nobody answers.
behind() {
  local url
  for url in "$(sed -nE 's/^[[:space:]]*server:[[:space:]]*"?([^"[:space:]]+)"?.*/\1/p' "$data/agent/kubelet.kubeconfig" | head -n 1)" \
    "https://$SERVER:6443"; do
    curl --silent --fail --max-time 10 --noproxy '*' --cacert "$data/agent/server-ca.crt" \
      --cert "$data/agent/client-kube-proxy.crt" --key "$data/agent/client-kube-proxy.key" \
      --url "$url/api/v1/nodes?labelSelector=node-role.kubernetes.io/control-plane" 2> /dev/null |
      python3 -c "$server_versions" "$K3S_VERSION" 2> /dev/null && return
  done
  return 1
}
wait_for_servers() {
  local said='' late
  [[ $ROLE == agent && -x $k3s && -e $data/agent/client-kube-proxy.key && $(installed_version) != "$K3S_VERSION" ]] || return 0
  while true; do
    late=$(behind) || late="no server answers"
    [[ -n $late ]] || break
    ((SECONDS < LIMIT_SECONDS)) ||
      fail "not all servers have $K3S_VERSION after $LIMIT_SECONDS s, and an agent must not be newer than its servers: $late"
    [[ $late == "$said" ]] || stage "waiting for the servers to have $K3S_VERSION: $late"
    said=$late
    pause 1
  done
}
