# shellcheck shell=bash
# Part of k3s-install.sh and k3s-certificates.sh: `works` succeeds when K3s does: a server when its API answers, an agent when its
# kubelet runs and reaches the API. The script has ROLE, ROOT, data and parts/k3s-service.sh.
# shellcheck disable=SC2154 # data is the script's
answers() { [[ $(curl --silent --fail --max-time 10 --noproxy '*' "$@" 2> /dev/null || true) == ok ]]; }

works() {
  local url=https://127.0.0.1:6443 host=127.0.0.1 port=6443
  if [[ $ROLE == server ]]; then
    [[ -s $ROOT/etc/rancher/k3s/k3s.yaml ]] || return 1
    if [[ $(< "$ROOT/etc/rancher/k3s/k3s.yaml") =~ https://\[?(127\.0\.0\.1|::1)\]?:([0-9]+) ]]; then
      url=${BASH_REMATCH[0]} host=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}
    fi
    # Probed without starting a program: until it listens, K3s can use all of a slow node.
    { : <> "/dev/tcp/$host/$port"; } 2> /dev/null || return 1
    local admin=(--cacert "$data/server/tls/server-ca.crt" --cert "$data/server/tls/client-admin.crt"
      --key "$data/server/tls/client-admin.key")
    # Its schema is made later, when Pulumi's provider is about to request it (components/cluster/kubernetes_api.py): K3s's own
    # definitions, which it creates just after this, change it.
    answers "${admin[@]}" --url "$url/readyz"
  else
    # The kubelet's own health port proves that this process runs it: certificates and load balancer of a former
    # join would answer even when the server refuses this one.
    [[ -s $data/agent/kubelet.kubeconfig && $(unit_state ActiveState) == active ]] || return 1
    url=$(sed -nE 's/^[[:space:]]*server:[[:space:]]*"?([^"[:space:]]+)"?.*/\1/p' "$data/agent/kubelet.kubeconfig" | head -n 1)
    answers --url http://127.0.0.1:10248/healthz &&
      answers --cacert "$data/agent/server-ca.crt" --cert "$data/agent/client-kubelet.crt" \
        --key "$data/agent/client-kubelet.key" --url "$url/readyz"
  fi
}
