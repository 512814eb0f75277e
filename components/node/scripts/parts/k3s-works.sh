# shellcheck shell=bash
# Part of scripts that have started K3s: `until_it_works` waits until the process of before has ended and K3s works, and ends the
# script with the reason where it does not. The script has SERVICE_LIMIT, unit, and the parts pause, k3s-service, k3s-health,
# k3s-diagnosis and redact.
# shellcheck disable=SC2154 # unit is the script's
until_it_works() {
  local began=$SECONDS look reason
  # Ever more seldom: what the journal is read for would slow down the start that it waits for.
  look=$((SECONDS + 5))
  until is_restarted && works; do
    if ((SECONDS - began >= SERVICE_LIMIT)); then
      reason=$(diagnose 1 | redact)
      give_up "$unit does not work after $SERVICE_LIMIT s. ${reason:-Raise the limit if the machine is slow; unit state: $(unit_state ActiveState)}"
    fi
    if ((SECONDS >= look)); then
      reason=$(diagnose 3 | redact)
      [[ -z $reason ]] || give_up "$reason"
      look=$((SECONDS + (SECONDS - began > 10 ? (SECONDS - began) / 2 : 5)))
    fi
    pause 0.5
  done
}
