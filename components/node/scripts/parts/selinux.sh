# shellcheck shell=bash
# Part of k3s-install.sh: SELinux where it is enforcing. K3s wants its policy there, in the package k3s-selinux with container-selinux
# (docs.k3s.io, Advanced Options, SELinux Support); its install script gets it from rpm.rancher.io, unless its variables forbid it.
#   selinux_lacks_policy  prints what is wrong, where the policy is missing and the install script is not going to bring it; else fails
#   check_policy          ends the script if it has not brought it
#   relabel               gives the files that the script has placed the labels of the policy
# The script has ROOT, K3S_BINARY, INSTALL_ENV, fail and parts/packages.sh.
# shellcheck disable=SC2154 # family and distribution are set by parts/packages.sh
enforces() { [[ -r $ROOT/sys/fs/selinux/enforce && $(< "$ROOT/sys/fs/selinux/enforce") == 1 ]]; }
has_policy() {
  local path
  for path in "$ROOT/usr/share/selinux/packages/k3s.pp" "$ROOT"/{var/lib,etc}/selinux/*/active/modules/*/k3s; do
    [[ ! -e $path ]] || return 0
  done
  return 1
}
# Whether INSTALL_ENV gives the install script's variable one of the values.
is_set() { [[ $INSTALL_ENV =~ \"INSTALL_K3S_$1\":[[:space:]]*\"($2)\" ]]; }
policy_remedy='put the packages k3s-selinux and container-selinux into the image (rpm.rancher.io has the first), or let SELinux only warn there (SELINUX=permissive in /etc/selinux/config)'
selinux_lacks_policy() {
  enforces && ! has_policy && ! is_set SELINUX_WARN true || return 1
  find_distribution
  if [[ $K3S_BINARY ]]; then
    echo "SELinux is enforcing without K3s's policy, and with artifacts nothing is downloaded: $policy_remedy"
  elif is_set SKIP_SELINUX_RPM true || is_set SKIP_DOWNLOAD 'true|selinux'; then
    echo "SELinux is enforcing without K3s's policy, and k3s.installScript.environment tells the install script not to get it: remove that, or $policy_remedy"
  elif [[ $family != rhel && $family != fedora && $family != suse ]]; then
    echo "SELinux is enforcing, and K3s has no policy for ${distribution:-this image}: let SELinux only warn there (SELINUX=permissive in /etc/selinux/config)"
  else
    return 1
  fi
}
check_policy() {
  ! enforces || has_policy || is_set SELINUX_WARN true ||
    fail "SELinux is enforcing, and the install script has not brought K3s's policy (its lines are in /var/log/k3s-install.log): $policy_remedy"
}
relabel() {
  local path placed=()
  [[ -e $ROOT/sys/fs/selinux/enforce ]] && has_policy && command -v restorecon > /dev/null || return 0
  for path in /usr/local/bin/k3s /etc/rancher /var/lib/rancher /var/lib/rancher/k3s /var/lib/rancher/k3s/agent; do
    [[ ! -e $ROOT$path ]] || placed+=("$ROOT$path")
  done
  timeout 60 restorecon -i "${placed[@]}" || true
  [[ ! -d $ROOT/var/lib/rancher/k3s/agent/images ]] || timeout 60 restorecon -R -i "$ROOT/var/lib/rancher/k3s/agent/images" || true
}
