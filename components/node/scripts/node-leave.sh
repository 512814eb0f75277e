#!/usr/bin/env bash
# Takes a node out of the cluster before its machine is deleted: drains it, has its etcd member removed, and deletes its object and
# node-password secret.
# Runs on another server.
#
# Environment:
#   NODE_NAME       the node that leaves
#   ROLE            server or agent
#   DRAIN_SECONDS   whole seconds its pods get to end; after that it leaves all the same
#   MEMBER_SECONDS  whole seconds K3s gets to remove the etcd member, 90 by default
#   API_SECONDS     whole seconds K3s on this server gets to answer again, 120 by default: on a slow machine one with etcd was
#                   seen to restart by itself just then (docs/measured.md 40)
# Changes: the cluster's objects of that node, etcd's list of members.
# Exit: 0 it has left (also when it was never there, or this server has no cluster); 1 when etcd would lose its majority or keeps
#   the member, or the API does not answer.
# K3s removes an etcd member whose node has the annotation etcd.k3s.cattle.io/remove, and reports it there (v1.22.2+k3s1 and
# later). This comes before the object is deleted: with the machine deleted and the member still counted, the next loss would be
# one too many, and a member that etcd refuses to remove is found here while its node is still in the list.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${NODE_NAME:?}" "${ROLE:?}" "${DRAIN_SECONDS:?}"
[[ $DRAIN_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "DRAIN_SECONDS must be whole seconds" >&2; exit 1; }
[[ $NODE_NAME =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || { echo "node: NODE_NAME must be a lower-case host name" >&2; exit 1; }
[[ $ROLE == server || $ROLE == agent ]] || { echo "node: ROLE must be server or agent" >&2; exit 1; }
MEMBER_SECONDS=${MEMBER_SECONDS:-90}
[[ $MEMBER_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "MEMBER_SECONDS must be whole seconds" >&2; exit 1; }
API_SECONDS=${API_SECONDS:-120}
[[ $API_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "API_SECONDS must be whole seconds" >&2; exit 1; }

note() { echo "node $NODE_NAME: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
node_leave=$(< "${0%/*}/node_leave.py")
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
kubectl() { timeout 60 k3s kubectl "$@"; }
answers() { [[ $(timeout 30 k3s kubectl get --raw /readyz 2> /dev/null || true) == ok ]]; }
# Runs a command until it succeeds, as long as the API does not answer; three times at most while it does.
repeat() {
  local end=$((SECONDS + API_SECONDS)) refusals=0
  until "$@"; do
    ((SECONDS < end)) || return 1
    if answers; then ((++refusals < 3)) || return 1; fi
    pause 2
  done
}

# A server whose datastore is elsewhere has no etcd of its own.
if [[ ! -d $ROOT/var/lib/rancher/k3s/server/db/etcd && ! -e $ROOT/var/lib/rancher/k3s/server/cred/passwd ]]; then
  note "this server has no cluster yet, so there is nothing to leave"
  echo "left=$NODE_NAME"
  exit 0
fi
stage "querying the API"
nodes=$(repeat kubectl get nodes -o json) ||
  fail "the API of this server does not answer, so the node cannot leave: see that K3s runs here"
leaving=$(python3 -c "$node_leave" "$NODE_NAME" "$ROLE" <<< "$nodes")
read -r state member <<< "$leaving"
case $state in
  present)
    stage "draining, $DRAIN_SECONDS s at most"
    end=$((SECONDS + DRAIN_SECONDS))
    until timeout "$((DRAIN_SECONDS + 30))" k3s kubectl drain "$NODE_NAME" --ignore-daemonsets --delete-emptydir-data --force \
      --timeout="$((end > SECONDS ? end - SECONDS : 1))s" > /dev/null 2>&1; do
      if ((SECONDS >= end)) || answers; then
        note "not all pods ended within $DRAIN_SECONDS s; it leaves all the same"
        break
      fi
      pause 2
    done
    ;;
  silent) note "is not Ready, so its pods end with it" ;;
esac
if [[ -n $member ]]; then
  stage "waiting for K3s to remove its etcd member $member"
  repeat kubectl annotate node "$NODE_NAME" etcd.k3s.cattle.io/remove=true --overwrite > /dev/null ||
    fail "its etcd member $member could not be removed: its object cannot be annotated"
  # Once it is removed, the annotation with its name is there, in every release.
  end=$((SECONDS + MEMBER_SECONDS))
  until timeout "$((MEMBER_SECONDS + 15))" k3s kubectl wait node "$NODE_NAME" --timeout="$((end > SECONDS ? end - SECONDS : 1))s" \
    --for=jsonpath='{.metadata.annotations.etcd\.k3s\.cattle\.io/removed-node-name}'="$member" > /dev/null; do
    # It ends early where K3s restarts.
    ((SECONDS < end)) ||
      fail "its etcd member $member could not be removed within $MEMBER_SECONDS s: bring the other servers back first, and see" \
        "journalctl -u k3s; on a slow machine raise timeouts.drain"
    pause 2
  done
fi
if [[ $state != absent ]]; then
  stage "deleting its object"
  repeat kubectl delete node "$NODE_NAME" --ignore-not-found --wait=false > /dev/null || fail "its object could not be deleted"
fi
# Otherwise a machine recreated under this name is refused ("Node password rejected").
repeat kubectl -n kube-system delete secret "$NODE_NAME.node-password.k3s" --ignore-not-found > /dev/null ||
  fail "its node-password secret could not be deleted"
echo "left=$NODE_NAME"
