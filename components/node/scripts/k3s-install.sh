#!/usr/bin/env bash
# Installs one K3s release by its install script, writes its files, starts it when something changed, and waits until
# it works: a server until its API answers, an agent until its kubelet runs and reaches the API.
#
# Environment:
#   ROLE            server or agent
#   K3S_VERSION     release, e.g. v1.27.8+k3s2
#   INSTALL_URL     where the install script is (http, https or file)
#   INSTALL_SHA256  its SHA-256, or empty for no check
#   K3S_BINARY      the release's binary as a file of this node, or empty: the install script downloads it
#   RELEASES        where the install script downloads the release (…/releases), or empty: its own source
#   INSTALL_ENV     JSON map of further environment for the install script, e.g. {"INSTALL_K3S_MIRROR": "cn"}, or empty
#   MODULES         kernel modules that K3s needs, separated by spaces: A|B for either, ? before one that is only useful
#   CGROUP_V1       true if this release starts where cgroups are those of version 1
#   NODE_OBJECTS    interfaces, files and directories that K3s's options name: KIND, SETTING, VALUE of each, separated by tabs
#   SERVER          address of a server, which an agent queries for how far an upgrade is; needed on agents
#   LIMIT_SECONDS   whole seconds for download and installation
#   SERVICE_LIMIT   whole seconds from the start of the service until it works
# Stdin: JSON map of files, {"/etc/rancher/k3s/config.yaml": {"content": "...", "mode": "0600"}, ...}
# Where a server's cluster has another token than the new config.yaml, it is given the new one first.
# An agent that has another release waits until all servers have K3S_VERSION (docs.k3s.io/upgrades: servers first).
# Changes: the files (those of a former run that are no longer named are removed), what the install script installs,
# unit k3s or k3s-agent enabled and, when needed, restarted; records in /var/lib/k3s-macvlan, log in /var/log/k3s-install.log.
# Exit: 0 it works; 1 with the reason and the remedy. A node that a server refuses (token, name) is seen in the
# journal: its unit starts without complaint.
# shellcheck disable=SC2034 # the parts read what is set here
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${ROLE:?}" "${K3S_VERSION:?}" "${INSTALL_URL:?}" "${LIMIT_SECONDS:?}" "${SERVICE_LIMIT:?}"
INSTALL_SHA256=${INSTALL_SHA256:-}
SERVER=${SERVER:-}
K3S_BINARY=${K3S_BINARY:-}
RELEASES=${RELEASES:-}
MODULES=${MODULES:-}
CGROUP_V1=${CGROUP_V1:-true}
NODE_OBJECTS=${NODE_OBJECTS:-}
export INSTALL_ENV=${INSTALL_ENV:-}

state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s
k3s=$ROOT/usr/local/bin/k3s

note() { echo "k3s: $*" >&2; }
fail() { note "$@"; exit 1; }

[[ $SERVER =~ ^[A-Za-z0-9.-]*$ ]] || fail "SERVER must be an address or a name"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $SERVICE_LIMIT =~ ^[0-9]{1,6}$ ]] || fail "SERVICE_LIMIT must be whole seconds"
case $ROLE in
  server) unit=k3s ;;
  agent) unit="k3s-agent" ;;
  *) fail "ROLE must be server or agent" ;;
esac
unit_file=$ROOT/etc/systemd/system/$unit.service

# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/installation.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/kernel.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/selinux.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/network-manager.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/node-check.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/cloud-init.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-options.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-token.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-files.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-upgrade-order.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-release.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-service.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-health.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-diagnosis.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/k3s-works.sh"

installed_version() { "$k3s" --version 2> /dev/null | awk 'NR == 1 {print $3}' || true; }

# Before the checks, one of which looks for flock: who waits for what K3s makes learns by the lock that this script has ended.
stage "taking the lock of this node's installations"
if command -v flock > /dev/null; then
  begin_installation "$LIMIT_SECONDS" || fail "another installation has been running on this node for $LIMIT_SECONDS s"
fi
# Of a node on which K3s was installed nothing is checked: it runs there.
[[ -e $state/installed ]] || check_node
check_options

# The umask of everything below, except for the directories that K3s and its users share.
umask 077
mkdir -p "$state"
stage "looking at what is installed"
check_step
rotate_token
write_files
wait_for_servers
install_release
# cni0, flannel.1 and its kin, and pods' ends are K3s's; mva-… is a node's own way to its pods (node-access.sh).
manager_leaves k3s cni0 'flannel*' 'veth*' kube-ipvs0 'mva-*'
if [[ $ROLE == server ]]; then stage "waiting for API"; else stage "waiting for the kubelet"; fi
start_service
until_it_works started
# shellcheck disable=SC2154 # start_service sets it
echo "version=$K3S_VERSION restarted=$restarted"
