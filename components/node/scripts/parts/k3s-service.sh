# shellcheck shell=bash
# Part of k3s-install.sh and, but for `start_service`, of k3s-certificates.sh: `start_service` enables the unit, and restarts it when
# its files or the binary changed or it does not run.
# `is_restarted` succeeds when the process of before the restart has ended: until then that one answers. They set restarted, and
# since, from when on the journal is read. The script has ROOT, state, k3s, unit, unit_file and fail.
# shellcheck disable=SC2154 # state, k3s, unit and unit_file are the script's
# What decides about a restart. Size and time of the binary stand for its content: hashing it takes seconds on a slow node.
fingerprint() {
  local path
  {
    while IFS= read -r path; do
      printf '%s ' "$path"
      sha256sum < "$ROOT$path" 2> /dev/null || echo none
    done < <(cat "$state/files"; printf '%s\n' "${unit_file#"$ROOT"}" "${unit_file#"$ROOT"}.env")
    stat --format='%s %.9Y' "$k3s"
  } | sha256sum | cut -d ' ' -f 1
}
unit_state() { timeout 30 systemctl show --property="$1" --value "$unit" 2> /dev/null || true; }
# shellcheck disable=SC2034 # parts/k3s-diagnosis.sh reads since
start_service() {
  local current active name value
  local -A has=()
  current=$(fingerprint)
  while IFS='=' read -r name value; do
    has[$name]=$value
  done < <(
    timeout 30 systemctl show --property=ActiveState,InvocationID,NeedDaemonReload,UnitFileState "$unit" 2> /dev/null || true
  )
  previous_invocation=${has[InvocationID]:-} active=${has[ActiveState]:-}
  since=$(($(date +%s) - 60)) restarted=false
  if [[ $(cat "$state/started" 2> /dev/null || true) != "$current" || ($active != active && $active != activating) ]]; then
    since=$(date +%s) restarted=true
    # A unit that systemd has not had loaded before is read when it starts.
    [[ ${has[NeedDaemonReload]:-} == no ]] || timeout 60 systemctl daemon-reload || true
    [[ $active != failed ]] || timeout 60 systemctl reset-failed "$unit" 2> /dev/null || true
    timeout 60 systemctl restart --no-block "$unit" || fail "systemd would not start $unit"
    # Recorded now and not when it works: a run that is killed while it waits need not restart K3s a second time.
    echo "$current" > "$state/started"
  fi
  [[ ${has[UnitFileState]:-} == enabled ]] || timeout 60 systemctl enable --quiet --no-reload "$unit" ||
    fail "systemd would not enable $unit"
  stale=$restarted
}
# systemd's invocation distinguishes the processes; it is not queried any more once it has changed.
is_restarted() {
  [[ $stale == false || $(unit_state InvocationID) != "$previous_invocation" ]] && stale=false
}
