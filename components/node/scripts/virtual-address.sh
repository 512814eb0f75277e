#!/usr/bin/env bash
# Has kube-vip give the cluster's virtual address to one server at a time: places its static pod on this server, and waits until
# the API answers at the address and kube-vip runs here, to take over from another server. Or takes the pod away again.
#
# Environment:
#   ACTION         on or off
#   ADDRESS        the virtual IPv4 address
#   INTERFACE      the node's interface that it is on, e.g. enp1s0
#   NODE_NAME      name of the node object; needed with on
#   LIMIT_SECONDS  whole seconds until the API answers at the address and kube-vip runs, or until the address has left this node
#   PROBE_SECONDS  whole seconds in which another machine that has the address must answer as this cluster's API, 60 by default
# Stdin: a line that says which installation of K3s it is (another one runs this again), then the manifest of the static pod; with
#   off nothing is read.
# Changes: kube-vip.yaml and kube-vip.kubeconfig in /var/lib/k3s-macvlan, and a link to the first in the directory of K3s's static
#   pods. The files are on the root disk and the link may be on a data disk: so a machine that is recreated has the pod again only
#   from this script. Off removes the three, and the address if kube-vip leaves it.
# Exit: 0 done; 1 with what is seen. Another machine that has the address is found before kube-vip is started, which does not probe.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ACTION:?}" "${ADDRESS:?}" "${INTERFACE:?}" "${LIMIT_SECONDS:?}"
NODE_NAME=${NODE_NAME:-}
PROBE_SECONDS=${PROBE_SECONDS:-60}

note() { echo "virtual address: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"

lan_probe=$(< "${0%/*}/lan_probe.py")
[[ $ADDRESS =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}$ ]] || fail "ADDRESS is no IPv4 address"
[[ $INTERFACE =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$ ]] || fail "INTERFACE is no interface name"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $PROBE_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "PROBE_SECONDS must be whole seconds"

own=$ROOT/var/lib/k3s-macvlan data=$ROOT/var/lib/rancher/k3s k3s=$ROOT/usr/local/bin/k3s
manifest=$own/kube-vip.yaml kubeconfig=$own/kube-vip.kubeconfig
pods=$data/agent/pod-manifests
link=$pods/kube-vip.yaml

has_address() { [[ $(ip -4 -oneline address show dev "$INTERFACE" to "$ADDRESS/32" 2> /dev/null) ]]; }

case $ACTION in
  off)
    rm -f "$link" "$manifest" "$kubeconfig"
    stage "waiting for kube-vip to give $ADDRESS back"
    while has_address && ((SECONDS < LIMIT_SECONDS)); do
      pause 1
    done
    if has_address; then
      note "kube-vip has left $ADDRESS on $INTERFACE, so it is removed"
      ip address delete "$ADDRESS/32" dev "$INTERFACE" || ! has_address || fail "$ADDRESS cannot be taken off $INTERFACE"
    fi
    echo "virtual-address=off"
    exit 0
    ;;
  on) ;;
  *) fail "ACTION must be on or off" ;;
esac
[[ ${#NODE_NAME} -le 253 && $NODE_NAME =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || fail "NODE_NAME must be a lower-case host name"
[[ -r $ROOT/sys/class/net/$INTERFACE/address ]] || fail "there is no interface $INTERFACE on this node (network.interface)"
read -r mac < "$ROOT/sys/class/net/$INTERFACE/address"

# The API at the address, if it is this cluster's: with its CA, and the address in its certificate.
request() {
  curl --max-time 10 --noproxy '*' --cacert "$data/server/tls/server-ca.crt" --cert "$data/server/tls/client-admin.crt" \
    --key "$data/server/tls/client-admin.key" --silent "$@" --url "https://$ADDRESS:6443/readyz" 2>&1
}
answers() { [[ $(request --fail || true) == ok ]]; }
# Whether other machines have the address; sets found to their MAC addresses.
others() {
  found=$(python3 -c "$lan_probe" "$INTERFACE" "$mac" "$ADDRESS" '') || fail "cannot probe for $ADDRESS on $INTERFACE"
  found=$(sed -n "s/^$ADDRESS //p" <<< "$found")
  [[ $found ]]
}

# kube-vip as it runs on K3s: K3s's own files, which client-go reads again when K3s has renewed them. Without any secret.
access="apiVersion: v1
kind: Config
clusters:
- name: k3s
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority: /var/lib/rancher/k3s/server/tls/server-ca.crt
users:
- name: admin
  user:
    client-certificate: /var/lib/rancher/k3s/server/tls/client-admin.crt
    client-key: /var/lib/rancher/k3s/server/tls/client-admin.key
contexts:
- name: k3s
  context:
    cluster: k3s
    user: admin
current-context: k3s"

read -r _ || true
pod=$(cat)
[[ $pod ]] || fail "stdin has no manifest"
umask 077
if [[ ! -e $link ]]; then
  stage "probing for another machine at $ADDRESS"
  began=$SECONDS
  # Another server of this cluster may have it, and not answer for a moment.
  while ! answers && others; do
    ((SECONDS - began < PROBE_SECONDS)) ||
      fail "$ADDRESS is in use: ${found//$'\n'/, } answered for it, and no API of this cluster does. Find that machine and give it another address, or move k3s.virtualAddress"
    pause 2
  done
fi
mkdir -p "$own" "$pods"
if [[ ! -e $link || $(cat "$manifest" 2> /dev/null) != "$pod" || $(cat "$kubeconfig" 2> /dev/null) != "$access" ]]; then
  printf '%s\n' "$access" > "$kubeconfig.new"
  mv "$kubeconfig.new" "$kubeconfig"
  printf '%s\n' "$pod" > "$manifest.new"
  mv "$manifest.new" "$manifest"
  # The kubelet sees what happens in this directory at once, and elsewhere every 20 s. It ignores names with a dot before them.
  ln -sfn "$manifest" "$pods/.kube-vip"
  mv -T "$pods/.kube-vip" "$link"
fi

# What is seen where the API does not answer at the address.
report() {
  local holder container
  note "$ADDRESS answers this node: $(request --show-error --fail | tail -n 1 || true)"
  if has_address; then note "this node has the address"; else note "this node does not have the address"; fi
  holder=$(timeout 60 "$k3s" kubectl --namespace kube-system get lease plndr-cp-lock --output 'jsonpath={.spec.holderIdentity}' 2>&1 || true)
  note "kube-vip's lease kube-system/plndr-cp-lock is held by: ${holder:-nobody}"
  container=$(timeout 60 "$k3s" crictl ps --all --latest --quiet --name kube-vip 2> /dev/null || true)
  if [[ $container ]]; then
    note "kube-vip's last lines:"
    timeout 60 "$k3s" crictl logs --tail 10 "$container" >&2 2>&1 || true
  else
    note "kube-vip has no container on this node. Events of its pod:"
    timeout 60 "$k3s" kubectl --namespace kube-system get events --field-selector "involvedObject.name=kube-vip-$NODE_NAME" \
      --output 'jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}' 2> /dev/null | tail -n 5 >&2 || true
  fi
}
runs() { [[ $(timeout 60 "$k3s" crictl ps --quiet --name kube-vip 2> /dev/null || true) ]]; }
stage "waiting for the API at $ADDRESS"
began=$SECONDS
until answers; do
  if ((SECONDS - began >= LIMIT_SECONDS)); then
    report
    fail "the API of this cluster does not answer at $ADDRESS (k3s.virtualAddress) after $LIMIT_SECONDS s. ErrImagePull in the lines above names an image that the registry refuses: correct k3s.kubeVip.image, or the registry (k3s.registries); a lease that is lost again and again, a machine too slow for k3s.kubeVip.leaseDuration"
  fi
  pause 2
done
stage "waiting for kube-vip on this server"
until runs; do
  if ((SECONDS - began >= LIMIT_SECONDS)); then
    report
    fail "kube-vip does not run on this server after $LIMIT_SECONDS s, so it could not take $ADDRESS over from another one. ErrImagePull in the lines above names an image that the registry refuses: correct k3s.kubeVip.image, or the registry (k3s.registries)"
  fi
  pause 3
done
echo "virtual-address=$ADDRESS"
