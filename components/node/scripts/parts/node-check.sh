# shellcheck shell=bash
# Part of k3s-install.sh: `check_node` ends the script, before it changes anything, if the image cannot run K3s, with all that it
# lacks. It starts one program. The script has ROOT, MODULES, CGROUP_V1, note and fail, and parts/kernel.sh.
# shellcheck disable=SC2154 # release, module_lists, other_kernels and lacks are set by parts/kernel.sh
check_node() {
  local each path programs=() frozen=() controllers missing=() wrong=() needed=() useful=()
  for each in python3 curl systemctl ip flock timeout tar; do
    command -v "$each" > /dev/null || programs+=("$each")
  done
  ((${#programs[@]} == 0)) || wrong+=("no ${programs[*]}: add the packages by cloudInit.packages, systemd excepted")

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

  ((${#wrong[@]})) || return 0
  for each in "${wrong[@]}"; do note "$each"; done
  fail "this image cannot run K3s for the reasons above, and nothing was installed: another image.source, or what is named there"
}
