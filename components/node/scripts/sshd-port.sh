#!/usr/bin/env bash
# Makes the SSH server listen on another port than 22, as cloud-init's first command of each boot, before sshd starts.
#
# Environment:
#   PORT  TCP port
# Changes: /etc/ssh/sshd_config.d/00-k3s-macvlan-port.conf, or Port in /etc/ssh/sshd_config where the server reads no such
#   directory (OpenSSH before 8.2 and distributions without Include); drop-ins of ssh.socket and sshd.socket where systemd listens
#   and does not read the server's configuration; under SELinux a policy module that gives the port ssh_port_t. What runs is
#   restarted, what does not is left.
# Its text is in the user data of nodes with another port: another text recreates each of them.
# Exit: 0, also where SELinux keeps the port from sshd, which then stays at 22; that is said on the console.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${PORT:?}"

note() { echo "ssh.port: $*" >&2; }
[[ $PORT =~ ^[0-9]{1,5}$ ]] || { note "PORT must be a number"; exit 1; }

# cloud images lack semanage (policycoreutils-python-utils), and all with SELinux have semodule.
if [[ -e $ROOT/sys/fs/selinux/enforce ]]; then
  rule="(portcon tcp $PORT (system_u object_r ssh_port_t ((s0) (s0))))"
  policy=$ROOT/etc/ssh/k3s_macvlan_port.cil
  if [[ $(cat "$policy" 2> /dev/null || true) != "$rule" ]]; then
    echo "$rule" > "$policy"
    if ! message=$(semodule -i "$policy" 2>&1); then
      rm -f "$policy"
      note "SELinux does not let sshd listen on port $PORT, so it stays at 22: ${message//$'\n'/ }"
      note "take a port that no other service has in its policy (semanage port -l), or 22"
      exit 0
    fi
  fi
fi

mkdir -p "$ROOT/etc/ssh/sshd_config.d"
drop_in=$ROOT/etc/ssh/sshd_config.d/00-k3s-macvlan-port.conf
echo "Port $PORT" > "$drop_in"
includes=false
for file in "$ROOT/etc/ssh/sshd_config" "$ROOT/usr/etc/ssh/sshd_config"; do
  [[ -r $file ]] || continue
  while read -r word rest; do
    if [[ ${word,,} == include && $rest == */sshd_config.d/* ]]; then includes=true; fi
  done < "$file"
  break
done
if [[ $includes == false && -e $ROOT/etc/ssh/sshd_config ]]; then
  rm -f "$drop_in"
  # At the beginning: behind a Match block it would be part of that.
  kept=$(sed -E '/^[[:space:]]*Port[[:space:]]/Id' "$ROOT/etc/ssh/sshd_config")
  printf 'Port %s\n%s\n' "$PORT" "$kept" > "$ROOT/etc/ssh/sshd_config"
fi

# Ubuntu from 24.04 on makes the socket's ports of sshd's configuration, whenever systemd reads its own.
generated=false
for file in "$ROOT"/{usr/,}lib/systemd/system-generators/sshd-socket-generator; do
  [[ ! -e $file ]] || generated=true
done
for unit in ssh.socket sshd.socket; do
  file=$ROOT/etc/systemd/system/$unit.d/k3s-macvlan-port.conf
  if [[ $generated == false ]]; then
    mkdir -p "${file%/*}"
    printf '[Socket]\nListenStream=\nListenStream=%s\n' "$PORT" > "$file"
  else
    rm -f "$file"
  fi
done
systemctl daemon-reload || note "systemd did not read its units anew"
# Only what runs already, and without waiting for it: this boot goes on behind this command.
systemctl --no-block try-restart ssh.socket sshd.socket ssh.service sshd.service 2> /dev/null || true
echo "ssh.port=$PORT"
