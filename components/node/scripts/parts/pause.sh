# shellcheck shell=bash
# Part of scripts: `pause SECONDS` is a sleep that starts no program. On a slow node, where something new starts at the same
# time, each start of one takes a tenth of a second from it.
exec {nothing}<> <(:)
pause() { read -rt "$1" -u "$nothing" || true; }
