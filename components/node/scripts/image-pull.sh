#!/usr/bin/env bash
# Pulls images on this node as soon as containerd runs, in parallel with the rest of the installation, so that pods find them here.
#
# Environment:
#   IMAGES         names in full (docker.io/library/NAME:TAG), with blanks between, the most urgent first
#   LIMIT_SECONDS  whole seconds until containerd runs
#   PULL_SECONDS   whole seconds for each image
# Changes: adds the images to containerd's store, by K3s's registries.yaml.
# Exit: 0, pulled or not: the kubelet pulls what is missing, and reports what is wrong with it; 1 for a wrong parameter.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${IMAGES:?}" "${LIMIT_SECONDS:?}" "${PULL_SECONDS:?}"

note() { echo "images: $*" >&2; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/installation.sh"

[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || { note "LIMIT_SECONDS must be whole seconds"; exit 1; }
[[ $PULL_SECONDS =~ ^[0-9]{1,6}$ ]] || { note "PULL_SECONDS must be whole seconds"; exit 1; }
[[ $IMAGES =~ ^[A-Za-z0-9._:/@\ -]+$ ]] || { note "IMAGES must be names of images"; exit 1; }
read -ra images <<< "$IMAGES"

k3s=$ROOT/usr/local/bin/k3s socket=$ROOT/run/k3s/containerd/containerd.sock
hosts=$ROOT/var/lib/rancher/k3s/agent/etc/containerd/certs.d programs=$ROOT/var/lib/rancher/k3s/data/current/bin
list=$ROOT/var/lib/rancher/k3s/agent/prepared-images

# The second way is for a K3s without crictl; it knows mirrors only where K3s writes them as files.
pull() {
  local ctr=("$k3s" ctr)
  if [[ -e $programs/crictl || ! -e $programs/ctr ]]; then
    timeout "$PULL_SECONDS" "$k3s" crictl pull "$1" > /dev/null 2>&1 && return
  else
    ctr=("$programs/ctr" --address "$socket")
  fi
  [[ -d $hosts ]] && timeout "$PULL_SECONDS" "${ctr[@]}" --namespace k8s.io images pull --hosts-dir "$hosts" "$1" > /dev/null 2>&1
}

# On a prepared image (image-prepare.sh). What is not there after all, the kubelet pulls.
if [[ -r $list ]]; then
  missing=()
  for image in "${images[@]}"; do
    grep -qxF "$image" "$list" || missing+=("$image")
  done
  images=(${missing[@]+"${missing[@]}"})
  ((${#images[@]})) || { echo "pulled="; exit 0; }
fi
stage "waiting for containerd"
until [[ -S $socket ]]; do
  # It ended and left no containerd: nothing to wait for, and `up` cannot end before this does.
  if installation_over && [[ ! -S $socket ]]; then note "K3s was not installed, so nothing is pulled ahead"; exit 0; fi
  ((SECONDS < LIMIT_SECONDS)) || { note "containerd does not run after $LIMIT_SECONDS s, so nothing is pulled ahead"; exit 0; }
  pause 0.3
done
pulled=()
for image in "${images[@]}"; do
  stage "pulling $image"
  # Containerd answers on its socket before it can pull.
  for attempt in 1 2 3 4 5 none; do
    if [[ $attempt == none ]]; then
      note "$image was not pulled ahead; the kubelet will pull it, or say why it cannot"
    elif pull "$image"; then
      pulled+=("$image")
      break
    else
      sleep 1
    fi
  done
done
echo "pulled=${pulled[*]}"
