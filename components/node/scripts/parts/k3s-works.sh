# shellcheck shell=bash
# Part of scripts that have started K3s: `until_it_works` waits until the process of before has ended and K3s works, and ends the
# script with the reason where it does not; `until_it_works started` where systemd has been sent the request to start the unit, and
# nothing else may stop it meanwhile. The script has SERVICE_LIMIT, unit, and the parts pause, k3s-service, k3s-health,
# k3s-diagnosis and redact.
# K3s tells systemd when it works, and waiting for that costs nothing. Each look at the API is a program and a TLS handshake, and one
# at the journal several programs, on a slow node whose cores K3s needs (docs/measured.md 53). So as long as systemd starts the unit,
# the API is looked at every ten seconds, and the journal ever more seldom.
# shellcheck disable=SC2154 # unit is the script's
until_it_works() {
  local began=$SECONDS probe=$((SECONDS + 10)) look=$((SECONDS + 5)) delay=0.5 starting='' reason
  if [[ ${1:-} == started ]]; then
    # It begins no second start: it ends with the one that is under way.
    timeout "$SERVICE_LIMIT" systemctl start "$unit" > /dev/null 2>&1 9>&- &
    starting=$! look=$((SECONDS + 15)) delay=0.1
  fi
  until may_probe && is_restarted && works; do
    if ((SECONDS - began >= SERVICE_LIMIT)); then
      reason=$(diagnose 1 | redact)
      stop_waiting
      give_up "$unit does not work after $SERVICE_LIMIT s. ${reason:-Raise the limit if the machine is slow; unit state: $(unit_state ActiveState)}"
    fi
    if ((SECONDS >= look)); then
      reason=$(diagnose 3 | redact)
      if [[ -n $reason ]]; then
        stop_waiting
        give_up "$reason"
      fi
      look=$((SECONDS + (SECONDS - began > 10 ? (SECONDS - began) / 2 : 5)))
      [[ -z $starting ]] || look=$((SECONDS + SECONDS - began))
    fi
    pause "$delay"
    delay=0.5
  done
  stop_waiting
}
# Whether the API is to be looked at now: systemd has started the unit, or could not, or it is time. It sets what until_it_works has.
may_probe() {
  [[ -n $starting ]] || return 0
  if kill -0 "$starting" 2> /dev/null; then
    ((SECONDS >= probe)) || return 1
    probe=$((SECONDS + 10))
    return 0
  fi
  # K3s may have ended, and the journal says why.
  look=$((SECONDS + 5))
  wait "$starting" || look=$((SECONDS + 1))
  starting=''
}
stop_waiting() {
  [[ -z $starting ]] || kill "$starting" 2> /dev/null || true
}
