# shellcheck shell=bash
# Part of k3s-install.sh and image-prepare.sh: `install_release` installs K3S_VERSION by its install script, unless this release was
# installed with the same parameters. The script has its parameters, ROOT, state, k3s, unit, unit_file, extra, note, fail,
# installed_version, parts/stage.sh and parts/redact.sh.
# shellcheck disable=SC2154 # state, k3s, unit, unit_file and extra are the script's
log=$ROOT/var/log/k3s-install.log
# Runs a command with the environment of INSTALL_ENV added. Our own parameters are left out: the install script
# copies every K3S_* variable into the unit's environment.
with_env() {
  (
    unset ROLE ROOT SERVER K3S_VERSION INSTALL_URL INSTALL_SHA256 K3S_BINARY RELEASES INSTALL_ENV LIMIT_SECONDS SERVICE_LIMIT MODULES CGROUP_V1
    unset K3S_IMAGES_URL K3S_IMAGES_SUMS_URL
    ((${#extra[@]} == 0)) || export "${extra[@]}"
    exec "$@"
  )
}

# What the install script leaves for one role, and not for both.
role_files() { printf '%s\n' "${unit_file#"$ROOT"}" "${unit_file#"$ROOT"}.env" "/usr/local/bin/$unit-uninstall.sh"; }

# On a prepared image (image-prepare.sh) the install script has run already, with the parameters that are wanted or others.
take_prepared() {
  local prepared=$state/prepared path
  [[ $(cat "$prepared/$ROLE.installed" 2> /dev/null || true) == "$1" ]] || return 1
  [[ $(stat --format='%s %.9Y' "$k3s" 2> /dev/null || true) == "$(< "$prepared/k3s")" ]] || return 1
  while IFS= read -r path; do
    [[ ! -e $prepared/$ROLE$path ]] || cp -p "$prepared/$ROLE$path" "$ROOT$path"
  done < <(role_files)
  relabel
  echo "$1" > "$state/installed"
}

install_release() {
  local wanted
  wanted=$(printf '%s\n' "$ROLE" "$K3S_VERSION" "$INSTALL_ENV" ${RELEASES:+"$RELEASES"} | sha256sum | cut -d ' ' -f 1)
  [[ ! -x $k3s || ! -e $unit_file || $(cat "$state/installed" 2> /dev/null || true) != "$wanted" ||
    $(installed_version) != "$K3S_VERSION" ]] || return 0
  ! take_prepared "$wanted" || return 0
  rm -f "$state/installed"
  shown_url=$(sed -E 's#://[^/@]*@#://[redacted]@#' <<< "$INSTALL_URL")
  # Not local: the trap reads them when the script ends.
  script=$(mktemp "$state/install.XXXXXX")
  messages=$(mktemp "$state/curl.XXXXXX")
  installer=
  trap 'stage; [[ -z $installer ]] || kill "$installer" 2> /dev/null || true; rm -f "$script" "$messages"' EXIT
  [[ -z $K3S_BINARY || -r $ROOT$K3S_BINARY ]] || fail "$K3S_BINARY is not on this node: run pulumi refresh, then pulumi up"
  download_script
  check_script
  choose_releases
  run_script
  check_release
  check_policy
  relabel
  rm -f "$script" "$messages"
  echo "$wanted" > "$state/installed"
}
download_script() {
  local status
  stage "downloading the install script"
  with_env timeout "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))" curl --fail --silent --show-error --location --globoff \
    --proto '=http,https,file' --connect-timeout 15 --retry 4 --retry-delay 2 --retry-all-errors \
    --output "$script" --url "$INSTALL_URL" 2> "$messages" || {
    status=$?
    redact < "$messages" | tail -n 3 >&2
    ((status != 124)) || note "the limit of $LIMIT_SECONDS s was reached"
    fail "cannot download the install script from $shown_url: give one this node can reach (setting k3s.installScript.url)"
  }
}
check_script() {
  local sum first
  if [[ -n $INSTALL_SHA256 ]]; then
    sum=$(sha256sum < "$script" | cut -d ' ' -f 1)
    if [[ $sum != "${INSTALL_SHA256,,}" ]]; then
      fail "the install script from $shown_url has the SHA-256 $sum, not $INSTALL_SHA256: read what changed, then correct" \
        "k3s.installScript.sha256 or k3s.installScript.url"
    fi
  fi
  IFS= read -r first < "$script" || true
  [[ $first == '#!'* ]] || fail "what $shown_url serves is no shell script (a login or error page?): correct k3s.installScript.url"
}
choose_releases() {
  [[ -n $RELEASES && -z $K3S_BINARY ]] || return 0
  # What it does not read it ignores, and then it downloads from elsewhere. Newer copies name GITHUB_URL in a warning alone.
  if grep -q INSTALL_K3S_ARTIFACT_URL "$script"; then
    extra+=("INSTALL_K3S_ARTIFACT_URL=$RELEASES/download")
  elif grep -q GITHUB_URL "$script"; then
    extra+=("GITHUB_URL=$RELEASES")
  else
    fail "the install script from $shown_url reads neither INSTALL_K3S_ARTIFACT_URL nor GITHUB_URL, so it would not download" \
      "from $(sed -E 's#://[^/@]*@#://[redacted]@#' <<< "$RELEASES"): take K3s's own script (k3s.installScript.url), or remove k3s.releases"
  fi
}
run_script() {
  local status=0
  stage "installing $K3S_VERSION"
  mkdir -p "$(dirname "$log")"
  if [[ -n $K3S_BINARY ]]; then
    install -D -m 0755 "$ROOT$K3S_BINARY" "$k3s.new"
    mv -f "$k3s.new" "$k3s"
  fi
  (
    umask 022
    [[ -z $K3S_BINARY ]] || export INSTALL_K3S_SKIP_DOWNLOAD=true
    # Enabled by start_service: the script reloads systemd's whole configuration twice for it, seconds each on a slow node.
    export INSTALL_K3S_VERSION=$K3S_VERSION INSTALL_K3S_EXEC=$ROLE INSTALL_K3S_SKIP_START=true INSTALL_K3S_SKIP_ENABLE=true
    exec 9>&-
    with_env timeout "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))" sh "$script"
  ) > "$log" 2>&1 &
  installer=$!
  wait "$installer" || status=$?
  installer=
  if ((status)); then
    note "the install script ended with status $status, last lines of /var/log/k3s-install.log:"
    tail -n 20 "$log" | redact >&2
    if ((status == 124)); then
      fail "it did not end within $LIMIT_SECONDS s: raise the limit, or take a nearer mirror (k3s.installScript.environment)"
    fi
    fail "if a download failed, name a mirror that serves $K3S_VERSION in k3s.releases (for the Chinese script" \
      "INSTALL_K3S_MIRROR and INSTALL_K3S_MIRROR_URL in k3s.installScript.environment), or another script in k3s.installScript.url"
  fi
}
check_release() {
  local found
  found=$(installed_version)
  [[ $found == "$K3S_VERSION" ]] ||
    fail "the install script left version ${found:-none}, not $K3S_VERSION: it, or the mirror that it asks, ignores the version"
  [[ -e $unit_file ]] || fail "the install script made no $unit.service: is $shown_url (k3s.installScript.url) K3s's own?"
}
