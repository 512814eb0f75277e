# shellcheck shell=bash
# Part of k3s-install.sh: `check_node` ends the script, before it changes anything, if the image cannot run K3s, with all that it
# lacks. It starts few programs. The script has ROOT, MODULES, CGROUP_V1, note and fail, parts/kernel.sh, parts/packages.sh and
# parts/selinux.sh.
# shellcheck disable=SC2154 # release, module_lists, other_kernels and lacks are set by parts/kernel.sh
# The oldest Python that the programs of the scripts run on. Its version is in the name of the file that python3 stands for.
check_python() {
  local path
  path=$(readlink -f "$(command -v python3)") || return 0
  [[ ! $path =~ python3\.([0-9]+)$ ]] || ((BASH_REMATCH[1] >= 9)) ||
    wrong+=("its python3 is Python 3.${BASH_REMATCH[1]}, and 3.9 is the oldest that will do: a newer release of the distribution (openSUSE Leap 16, AlmaLinux or Rocky 9)")
}
# What an image's own firewall does to pods is not seen here, so it is only said.
check_firewall() {
  local active='' line
  if [[ -r $ROOT/etc/ufw/ufw.conf ]]; then
    while read -r line; do [[ $line != ENABLED=yes ]] || active=ufw; done < "$ROOT/etc/ufw/ufw.conf"
  fi
  for line in "$ROOT"/{usr/,}lib/systemd/system/firewalld.service; do
    [[ ! -e $line ]] || ! timeout 10 systemctl is-active --quiet firewalld.service || active=firewalld
  done
  [[ -z $active ]] ||
    note "$active is active on this node. K3s's documents say to switch it off (cloudInit.runcmd), or to open 6443, 10250, 2379-2380 (TCP) and 8472 (UDP) to the nodes and to trust the networks of k3s.podCidr and k3s.serviceCidr; else pods reach neither each other nor the API"
  [[ ! -e $ROOT/etc/systemd/system/timers.target.wants/nm-cloud-setup.timer ]] ||
    note "nm-cloud-setup is enabled on this node, and K3s's documents say to switch it off: cloudInit.runcmd: systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service"
}
check_node() {
  local each path programs=() frozen=() controllers missing=() wrong=() needed=() useful=()
  for each in python3 curl systemctl ip flock timeout tar; do
    command -v "$each" > /dev/null || programs+=("$each")
  done
  ((${#programs[@]} == 0)) || wrong+=("no ${programs[*]}: add $(package_of "${programs[@]}") by cloudInit.packages")
  [[ " ${programs[*]} " == *' python3 '* ]] || check_python

  for each in /etc /usr/local/bin /var/lib /var/log; do
    path=$ROOT$each
    until [[ -e $path ]]; do path=${path%/*}; done
    [[ -w $path ]] || frozen+=("$each")
  done
  ((${#frozen[@]} == 0)) ||
    wrong+=("${frozen[*]} cannot be written: images with a read-only root are not supported, take the distribution's generic one")

  if [[ -r $ROOT/sys/fs/cgroup/cgroup.controllers ]]; then
    controllers=" $(< "$ROOT/sys/fs/cgroup/cgroup.controllers") "
    for each in cpu cpuset memory pids; do
      [[ $controllers == *" $each "* ]] || missing+=("$each")
    done
    ((${#missing[@]} == 0)) ||
      wrong+=("no cgroup controller ${missing[*]}: take cgroup_disable= off the kernel's command line, or add cgroup_enable=memory")
  elif [[ ! -d $ROOT/sys/fs/cgroup/memory ]]; then
    wrong+=("no cgroups with a memory controller in /sys/fs/cgroup: add cgroup_enable=memory to the kernel's command line")
  elif [[ $CGROUP_V1 != true ]]; then
    wrong+=("cgroup v1, on which this Kubernetes does not start: a newer image, or systemd.unified_cgroup_hierarchy=1 for its kernel")
  fi

  for each in $MODULES; do
    if [[ $each == \?* ]]; then useful+=("${each#\?}"); else needed+=("$each"); fi
  done
  find_modules
  if [[ -z $MODULES ]]; then
    :
  elif ((${#module_lists[@]} == 0 && ${#other_kernels[@]})); then
    wrong+=("no modules of the kernel that runs, $release, but of ${other_kernels[*]}: it was upgraded, so restart the machine")
  elif ((${#module_lists[@]} == 0)); then
    note "nothing in /lib/modules tells what the kernel has, so it is not checked"
  else
    lacking "${needed[@]}" "${useful[@]}"
    missing=()
    for each in "${lacks[@]}"; do
      if [[ " ${useful[*]} " == *" $each "* ]]; then
        note "the kernel $release lacks $each: network policies are not enforced on this node. What brings it: $(brings)"
      else
        missing+=("${each//|/ or }")
      fi
    done
    path=$(IFS=,; echo "${missing[*]}")
    ((${#missing[@]} == 0)) || wrong+=("the kernel $release lacks ${path//,/, }. What brings it: $(brings)")
  fi

  if each=$(selinux_lacks_policy); then wrong+=("$each"); fi
  check_firewall

  ((${#wrong[@]})) || return 0
  for each in "${wrong[@]}"; do note "$each"; done
  fail "this image cannot run K3s for the reasons above, and nothing was installed: another image.source, or what is named there"
}
