#!/usr/bin/env bash
# Puts what is the same on every node of a K3s release onto this machine, whose disk becomes the base of nodes' disks, and removes
# what is this machine's own. No cluster is started, and nothing is left running.
# It is run by cloud-init, from a directory that also has plugins-install.sh and artifacts.sh.
#
# Environment:
#   DIGEST          names the image; it is written into the image and into the last line
#   K3S_VERSION     as in k3s-install.sh, like INSTALL_SHA256, K3S_BINARY, RELEASES, INSTALL_ENV, MODULES and CGROUP_V1
#   INSTALL_URL     as in k3s-install.sh
#   ARTIFACTS       digest of the disk with the artifacts, or empty: this machine downloads
#   BIN_DIR         as in plugins-install.sh, like ARCHIVE_URL, ARCHIVE_SHA256, ARCHIVE_SUMS_URL and PLUGINS
#   K3S_IMAGES_URL  archive of K3s's own images, and K3S_IMAGES_SUMS_URL the file with its SHA-256; or empty: nodes pull them
#   IMAGES          further images in full, separated by spaces
#   HOSTS           JSON map of registries, {"docker.io": {"hosts.toml": "..."}}: their mirrors, as containerd reads them
#   SNAPSHOTTER     containerd's, overlayfs; empty: no image is unpacked
#   DATA_DISK       true if nodes have a disk of their own on K3s's directory, which then must be empty below it
#   LIMIT_SECONDS   whole seconds for the installation, and for the images
# Output: lines `k3s-macvlan image: TEXT` on the serial console, the last one `complete DIGEST` or `failed: REASON`.
# Changes: what the install script installs, in /var/lib/k3s-macvlan/prepared what of it is for one role; K3s's programs, CNI plugins
# and images in /var/lib/rancher. Removed: see parts/image-clean.sh.
# Exit: 0; 1 with the reason. Images that cannot be had are named and left to the nodes.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${DIGEST:?}" "${K3S_VERSION:?}" "${INSTALL_URL:?}" "${LIMIT_SECONDS:?}" "${BIN_DIR:?}"
INSTALL_SHA256=${INSTALL_SHA256:-} K3S_BINARY=${K3S_BINARY:-} RELEASES=${RELEASES:-} MODULES=${MODULES:-}
CGROUP_V1=${CGROUP_V1:-true} ARTIFACTS=${ARTIFACTS:-} K3S_IMAGES_URL=${K3S_IMAGES_URL:-} IMAGES=${IMAGES:-} HOSTS=${HOSTS:-}
SNAPSHOTTER=${SNAPSHOTTER:-} DATA_DISK=${DATA_DISK:-}
export INSTALL_ENV=${INSTALL_ENV:-}
here=${HERE:-$(dirname "$0")} console=${CONSOLE:-/dev/ttyS0}
[[ -w $console ]] || console=/dev/console

state=$ROOT/var/lib/k3s-macvlan data=$ROOT/var/lib/rancher/k3s k3s=$ROOT/usr/local/bin/k3s
prepared=$state/prepared

note() { echo "k3s-macvlan image: $*" | tee -a "$console" >&2; }
# What a refused check's remedy means here.
hint=''
fail() {
  note "failed: $*$hint"
  exit 1
}

# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/kernel.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/selinux.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/node-check.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-release.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/containerd.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/image-clean.sh"

image_parameters=$(< "${0%/*}/image_parameters.py")
installed_version() { "$k3s" --version 2> /dev/null | awk 'NR == 1 {print $3}' || true; }

# Only one role's files may be in their places, and which is not known before a node is.
set_aside() {
  local path
  while IFS= read -r path; do
    [[ -e $ROOT$path ]] || continue
    mkdir -p "$prepared/$ROLE${path%/*}"
    mv -f "$ROOT$path" "$prepared/$ROLE$path"
  done < <(role_files)
  mv -f "$state/installed" "$prepared/$ROLE.installed"
}

hint=". The setting cloudInit is not applied to this machine: add it to image.source, or set image.prepare: auto"
check_node
hint=''
umask 077
mkdir -p "$state" "$prepared"
mapfile -d '' -t extra < <(python3 -c "$image_parameters" environment)
if [[ -n $ARTIFACTS ]]; then
  stage "copying the artifacts"
  DIGEST=$ARTIFACTS bash "$here/artifacts.sh" || fail "the artifacts could not be copied"
fi
for ROLE in server agent; do
  unit=k3s
  [[ $ROLE == server ]] || unit="k3s-agent"
  unit_file=$ROOT/etc/systemd/system/$unit.service
  install_release
  set_aside
done
stat --format='%s %.9Y' "$k3s" > "$prepared/k3s"
if [[ $DATA_DISK == true ]]; then
  # data-disk.sh mounts over nothing that it would hide. The artifacts' images are there.
  rm -rf "${data%/*}"
else
  stage "unpacking K3s's programs"
  (umask 022; timeout "$LIMIT_SECONDS" "$k3s" ctr --version > /dev/null) || fail "K3s $K3S_VERSION does not unpack its programs"
  # Of some releases and settings K3s makes it only when it starts.
  if [[ -d $ROOT$BIN_DIR ]]; then
    bash "$here/plugins-install.sh" || fail "the CNI plugins could not be installed"
  fi
  [[ -z $SNAPSHOTTER ]] || unpack_images
fi
stage "removing what is this machine's own"
clean_image
echo "$DIGEST" > "$prepared/digest"
sync
stage
note "complete $DIGEST"
