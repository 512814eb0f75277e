# shellcheck shell=bash
# Part of k3s-install.sh: `write_files` checks INSTALL_ENV and sets extra to it, as NAME=VALUE, and writes the files that stdin
# names. The script exports ROOT and INSTALL_ENV.
k3s_files=$(< "${0%/*}/k3s_files.py")
extra=()
# shellcheck disable=SC2034 # parts/k3s-release.sh reads extra
write_files() {
  exec 4<&0
  mapfile -d '' -t extra < <(python3 -c "$k3s_files" <&4)
  wait $! || exit 1
  exec 4<&-
}
