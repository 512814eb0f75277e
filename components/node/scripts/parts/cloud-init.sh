# shellcheck shell=bash
# Part of scripts that wait for cloud-init: `cloud_init_ended`, whether it has. The script has ROOT.
# Its end is seen by the files that it writes for those who wait (cloud-init's documentation, result.json), and, where there are none,
# by its last unit, which is looked at every ten seconds: its own command takes seconds of a slow node's power next to K3s.
cloud_init_look=10
cloud_init_ended() {
  local run=$ROOT/run/cloud-init
  [[ -d $run && ! -e $run/result.json && ! -e $run/disabled ]] || return 0
  ((SECONDS >= cloud_init_look)) || return 1
  cloud_init_look=$((SECONDS + 10))
  case $(timeout 10 systemctl show --property=ActiveState --value cloud-final.service 2> /dev/null || true) in
    active | failed) ;;
    *) return 1 ;;
  esac
}
