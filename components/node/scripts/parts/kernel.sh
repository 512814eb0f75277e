# shellcheck shell=bash
# Part of scripts: what the node's kernel has, from depmod's files: modprobe would be a program for each module. The script has
# ROOT.
#   find_modules       looks where they are: sets release, module_lists (empty: nothing lists them) and other_kernels
#   lacking MODULE...  sets lacks to those that are neither built in, nor files, nor loaded; A|B stands for either
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
