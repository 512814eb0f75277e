# shellcheck shell=bash
# Part of scripts that exchange the cluster's data: `start_k3s` starts the unit and waits until K3s works. The script has unit,
# SERVICE_LIMIT, parts/k3s-service.sh, parts/k3s-health.sh, parts/k3s-diagnosis.sh, parts/stage.sh and parts/pause.sh.
# shellcheck disable=SC2034,SC2154 # the other parts read what is set here; unit is the script's
start_k3s() {
  local began=$SECONDS
  # A process of before would answer.
  timeout 120 systemctl stop "$unit" || true
  since=$(date +%s)
  stage "waiting for K3s to work again"
  timeout 60 systemctl reset-failed "$unit" 2> /dev/null || true
  timeout 60 systemctl start --no-block "$unit" || fail "systemd would not start $unit: see ./lab logs, then repeat the restore"
  until works; do
    ((SECONDS - began < SERVICE_LIMIT)) ||
      give_up "$unit does not work $SERVICE_LIMIT s after its data were exchanged (timeouts.k3s); repeat the restore. $(diagnose 1 | redact)"
    pause 1
  done
}
