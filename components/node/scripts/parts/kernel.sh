# shellcheck shell=bash
# Part of scripts: what the node's kernel has, from depmod's files: modprobe would be a program for each module. The script has
# ROOT.
#   find_modules       looks where they are: sets release, module_lists (empty: nothing lists them) and other_kernels
#   lacking MODULE...  sets lacks to those that are neither built in, nor files, nor loaded; A|B stands for either
#   brings             prints what brings missing modules on this distribution
find_modules() {
  local folder path
  release='' module_lists=() other_kernels=()
  if [[ -r $ROOT/proc/sys/kernel/osrelease ]]; then release=$(< "$ROOT/proc/sys/kernel/osrelease"); fi
  for folder in "$ROOT/lib/modules" "$ROOT/usr/lib/modules"; do
    for path in "$folder/$release"/modules.{dep,builtin}; do
      [[ ! -r $path ]] || module_lists+=("$path")
    done
    ((${#module_lists[@]} == 0)) || return 0
    for path in "$folder"/*/modules.dep; do
      [[ ! -e $path ]] || { path=${path%/*}; other_kernels+=("${path##*/}"); }
    done
  done
}
lacking() {
  local each name has=' ' found IFS='|'
  lacks=()
  if ((${#module_lists[@]})); then
    while IFS= read -r found; do
      found=${found##*/}
      has+="${found%%.ko*} "
    done < <(LC_ALL=C grep -ohE "/($*)\.ko" "${module_lists[@]}" || true)
  fi
  for each in "$@"; do
    for name in $each; do
      [[ $has != *" $name "* && ! -d $ROOT/sys/module/$name ]] || continue 2
    done
    lacks+=("$each")
  done
}
brings() {
  local key value id='' like=''
  if [[ -r $ROOT/etc/os-release ]]; then
    while IFS='=' read -r key value; do
      value=${value#[\"\']} value=${value%[\"\']}
      case $key in ID) id=$value ;; ID_LIKE) like=$value ;; esac
    done < "$ROOT/etc/os-release"
  fi
  case " $id $like " in
    *' ubuntu '*) echo "package linux-modules-extra-$release (Ubuntu)" ;;
    *' debian '*) echo "package linux-image-amd64 in place of the cloud kernel's, and a restart; or Debian's image generic" ;;
    *' ol '*) echo "package kernel-modules-extra-$release, with Oracle's own kernel kernel-uek-modules-extra-$release" ;;
    *' rhel '* | *' fedora '* | *' centos '*) echo "package kernel-modules-extra-$release (Red Hat and its kin, Fedora)" ;;
    *' suse '* | *' opensuse '* | *' sles '*) echo "package kernel-default in place of kernel-default-base, and a restart (SUSE)" ;;
    *' arch '*) echo "package linux (Arch), and a restart: an upgrade removes the modules of the kernel that runs" ;;
    *) echo "another kernel package of ${id:-this image}" ;;
  esac
}
