# shellcheck shell=bash
# Part of image-prepare.sh: `unpack_images` starts the containerd that K3s brings, without K3s, puts images into its store, and ends
# it. They are those of the archive at K3S_IMAGES_URL, those of archives in K3s's directory, and IMAGES; the names of what is there
# afterwards are in a file next to it. An image that cannot be had is named and left to the nodes. The script has ROOT, data,
# image_parameters, SNAPSHOTTER, LIMIT_SECONDS, extra, with_env, note, fail, parts/stage.sh and parts/pause.sh.
# shellcheck disable=SC2153,SC2154 # ROOT, IMAGES, data and image_parameters are the script's
containerd=
start_containerd() {
  local programs=$data/data/current/bin root=$data/agent/containerd began=$SECONDS
  (umask 022; mkdir -p "$data/agent" "$ROOT/run/k3s/containerd")
  hosts=$(mktemp -d "$ROOT/run/k3s-macvlan-hosts.XXXXXX")
  HOSTS_DIR=$hosts python3 -c "$image_parameters" hosts
  # Without the plugin that Kubernetes uses: it would look for CNI's configuration, of which there is none yet.
  printf '%s\n' 'version = 2' "root = \"$root\"" "state = \"$ROOT/run/k3s/containerd\"" \
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]' '[grpc]' \
    "  address = \"$ROOT/run/k3s/containerd/containerd.sock\"" > "$hosts/config.toml"
  ctr=("$programs/ctr" --address "$ROOT/run/k3s/containerd/containerd.sock" --namespace k8s.io)
  # With the umask that it has of systemd, which directories in images get their modes by.
  # With the environment that K3s's service has, as for a proxy.
  (umask 022; ((${#extra[@]} == 0)) || export "${extra[@]}"; PATH="$programs:$PATH" exec "$programs/containerd" --config "$hosts/config.toml") \
    > "$ROOT/var/log/k3s-macvlan-containerd.log" 2>&1 &
  containerd=$!
  until "${ctr[@]}" version > /dev/null 2>&1; do
    kill -0 "$containerd" 2> /dev/null || fail "containerd ended: $(tail -n 1 "$ROOT/var/log/k3s-macvlan-containerd.log")"
    ((SECONDS - began < LIMIT_SECONDS)) || fail "containerd does not answer after $LIMIT_SECONDS s"
    pause 0.5
  done
}
import_archive() {
  timeout "$LIMIT_SECONDS" "${ctr[@]}" images import --snapshotter "$SNAPSHOTTER" "$1" > /dev/null 2> "$hosts/said"
}
# pull IMAGE; a registry that is busy is queried again.
pull() {
  local attempt
  for attempt in 1 2 3; do
    ! with_env timeout "$LIMIT_SECONDS" "${ctr[@]}" images pull --snapshotter "$SNAPSHOTTER" --hosts-dir "$hosts" "$1" > /dev/null 2> "$hosts/said" ||
      return 0
    ((attempt == 3)) || pause 3
  done
  return 1
}
# download URL FILE (- for stdout); curl's last words are in said. To stdout it repeats what came before a retry, which only a file
# that it opens itself is rid of.
download() {
  with_env timeout "$LIMIT_SECONDS" curl --fail --silent --show-error --location --globoff --proto '=http,https,file' --connect-timeout 15 \
    --retry 4 --retry-delay 2 --retry-all-errors --output "$2" --url "$1" 2> "$hosts/said"
}
import_release() {
  local archive=$ROOT/var/tmp/k3s-macvlan-images.tar.zst name=${K3S_IMAGES_URL##*/} sum expected
  [[ -n $K3S_IMAGES_URL ]] || return 0
  mkdir -p "${archive%/*}"
  stage "downloading K3s's own images"
  expected=$(download "$K3S_IMAGES_SUMS_URL" - | awk -v name="$name" '$2 == name || $2 == "*" name {print $1}') || true
  if [[ -z $expected ]] || ! download "$K3S_IMAGES_URL" "$archive"; then
    note "K3s's own images are left to the nodes: $name is not there ($(tail -n 1 "$hosts/said" | redact))"
    return 0
  fi
  sum=$(sha256sum < "$archive" | cut -d ' ' -f 1)
  [[ $sum == "$expected" ]] || fail "$name has the SHA-256 $sum, not $expected as its checksum file says"
  stage "unpacking K3s's own images"
  import_archive "$archive" || note "K3s's own images are left to the nodes: $(tail -n 1 "$hosts/said")"
  rm -f "$archive"
}
unpack_images() {
  local image archive images
  read -ra images <<< "$IMAGES"
  stage "starting containerd"
  start_containerd
  import_release
  for archive in "$data"/agent/images/k3s-macvlan-*; do
    [[ -e $archive ]] || continue
    stage "unpacking ${archive##*/}"
    import_archive "$archive" || note "${archive##*/} is left to the nodes: $(tail -n 1 "$hosts/said")"
  done
  "${ctr[@]}" images list --quiet > "$data/agent/prepared-images"
  for image in "${images[@]}"; do
    ! grep -qxF "$image" "$data/agent/prepared-images" || continue
    stage "pulling $image"
    pull "$image" || note "$image is left to the nodes: $(tail -n 1 "$hosts/said")"
  done
  "${ctr[@]}" images list --quiet > "$data/agent/prepared-images"
  stage "ending containerd"
  kill "$containerd"
  wait "$containerd" || true
  rm -rf "$hosts" "$ROOT/run/k3s" "$ROOT/var/log/k3s-macvlan-containerd.log"
}
