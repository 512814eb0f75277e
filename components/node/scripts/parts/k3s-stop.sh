# shellcheck shell=bash
# Part of scripts that exchange the cluster's data: `stop_k3s` stops K3s and ends the processes of all pods on this node;
# `forget_cluster` removes what this node has of the former cluster's identity. Pods start again, as after a reboot: what watches the API
# from a later revision on than the restored one sees no changes until that revision is reached (Kubernetes: cacher.go drops them).
# K3s's own k3s-killall.sh is not used: it unmounts all that is mounted below /var/lib/rancher/k3s, data disks among it, and removes the
# mount points. The script has ROOT, unit, data, CONF_DIR, note, fail, parts/stage.sh and parts/pause.sh.
# shellcheck disable=SC2154 # unit and data are the script's
POD_SECONDS=${POD_SECONDS:-30}

# Sets pids to the processes that are in a pod's cgroup, of either version of cgroups.
find_pod_processes() {
  local pid
  pids=()
  while read -r pid; do
    if kill -0 "$pid" 2> /dev/null; then pids+=("$pid"); fi
  done < <(find "$ROOT/sys/fs/cgroup" -path '*/kubepods*' -name cgroup.procs -exec cat {} + 2> /dev/null | sort -u)
}
stop_k3s() {
  local end=$((SECONDS + POD_SECONDS)) killed=''
  stage "stopping K3s"
  timeout 120 systemctl stop "$unit" || fail "systemd could not stop $unit within 120 s: see ./lab logs, then repeat the restore"
  find_pod_processes
  ((${#pids[@]})) || return 0
  stage "ending ${#pids[@]} processes of pods, $POD_SECONDS s at most"
  kill -TERM "${pids[@]}" 2> /dev/null || true
  end=$((SECONDS + POD_SECONDS))
  while find_pod_processes; ((${#pids[@]})); do
    if ((SECONDS >= end + 15)); then
      note "still there after SIGKILL: processes ${pids[*]}"
      break
    fi
    if ((SECONDS >= end)) && [[ -z $killed ]]; then
      killed=1
      kill -KILL "${pids[@]}" 2> /dev/null || true
    fi
    pause 0.5
  done
}
# The certificates of the kubelet and its kin are requested again with the token. Multus fails without its kubeconfig and does not pass
# over its networks, so that no pod starts with the former cluster's.
forget_cluster() {
  rm -f "$data"/agent/*.crt "$data"/agent/*.key "$data"/agent/*.kubeconfig "$data"/agent/etc/*-load-balancer.json \
    "$ROOT$CONF_DIR/multus.d/multus.kubeconfig"
}
