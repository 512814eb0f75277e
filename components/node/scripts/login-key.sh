#!/usr/bin/env bash
# Gives the user of this node a key to log in with, or takes the stack's former ones away.
#
# Environment:
#   ACTION     add: this key next to those that are there; alone: of the stack's own keys this one alone stays
#   USER_NAME  the user
#   OWNER      project/stack, the comment of the stack's own keys; for alone
# Stdin: the key, as a line of authorized_keys.
# Changes: the first file of the user's AuthorizedKeysFile; with alone, lines of it and of the others that are the stack's former keys.
# Exit: 0 done, also where nothing had to be; 1 with the reason.
# Stdout: with alone, removed= and how many lines were taken away.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-} OWNER=${OWNER:-}
: "${ACTION:?}" "${USER_NAME:?}"
export ACTION USER_NAME
fail() { echo "login key: $*" >&2; exit 1; }
[[ $ACTION == add || $ACTION == alone ]] || fail "ACTION must be add or alone"
[[ $ACTION == add || -n $OWNER ]] || fail "OWNER must be the comment of the stack's keys"
[[ $USER_NAME =~ ^[a-z_][a-z0-9_-]*$ ]] || fail "USER_NAME must be the name of a user"
login_key=$(< "${0%/*}/login_key.py")

# Where keys are read is the SSH server's setting; some images have others than its default.
AUTHORIZED_KEYS_FILE=$(timeout 10 sshd -T -C "user=$USER_NAME,host=localhost,addr=127.0.0.1" 2> /dev/null |
  sed -n 's/^authorizedkeysfile //p' || true)
export AUTHORIZED_KEYS_FILE=${AUTHORIZED_KEYS_FILE:-.ssh/authorized_keys}
python3 -c "$login_key"
