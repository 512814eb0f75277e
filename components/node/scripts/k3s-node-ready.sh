#!/usr/bin/env bash
# Waits until this node's object in the cluster is Ready, queried with the kubelet's own credentials.
#
# Environment:
#   NODE_NAME      name of the node object
#   LIMIT_SECONDS  whole seconds to wait at most
# Changes: nothing.
# Exit: 0 Ready, reported by the kubelet of this boot (a rebuilt or rebooted machine finds an old "Ready" at first);
#       1 at the limit, with the node's conditions and the last journal lines.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${NODE_NAME:?}" "${LIMIT_SECONDS:?}"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "LIMIT_SECONDS must be whole seconds" >&2; exit 1; }
[[ ${#NODE_NAME} -le 253 && $NODE_NAME =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] ||
  { echo "node: NODE_NAME must be a lower-case host name" >&2; exit 1; }

# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
k3s_node_ready=$(< "${0%/*}/k3s_node_ready.py")
if python3 -c "$k3s_node_ready"; then
  echo "node=$NODE_NAME ready=true"
  exit 0
fi

unit=k3s
systemctl cat --no-pager k3s.service > /dev/null 2>&1 || unit="k3s-agent"
echo "last journal lines of $unit (if images cannot be pulled, see registries; if the machine is slow, raise the limit):" >&2
timeout 15 journalctl --no-pager --quiet --output=short-iso --unit "$unit" --lines=20 2> /dev/null | redact >&2 || true
exit 1
