# shellcheck shell=bash
# Part of k3s-install.sh: `check_options` ends the script, before it changes anything, if options of K3s name interfaces, files or
# directories that this node lacks, with all of them. What cloud-init may still create is waited for until it has ended. The script
# has ROOT, NODE_OBJECTS, LIMIT_SECONDS, note, fail, stage, pause and cloud_init_ended.
# What is wrong with one of them, or nothing.
lack() {
  local path name names=''
  case $1 in
    interface)
      for path in "$ROOT"/sys/class/net/*; do
        name=${path##*/}
        [[ $name == lo || ! -e $path ]] || names+=" $name"
      done
      if [[ ! -e $ROOT/sys/class/net/$3 ]]; then
        echo "$2 is $3, and this node has no such interface, but$names: correct it"
      elif [[ -z $(ip -4 -oneline address show dev "$3" 2> /dev/null) ]]; then
        echo "$2 is $3, and this interface has no IPv4 address on this node: give it one, or name another"
      fi
      ;;
    file) [[ -f $ROOT$3 ]] || echo "$2 is $3, and this node has no such file: correct it, or have cloudInit.write_files create it" ;;
    directory)
      [[ -d $ROOT$3 ]] || echo "$2 is $3, and this node has no such directory: correct it, or have cloudInit.runcmd create it"
      ;;
  esac
}
check_options() {
  local ended objects=() lacks=() number text
  [[ -n $NODE_OBJECTS ]] || return 0
  IFS=$'\t' read -ra objects <<< "$NODE_OBJECTS"
  stage "waiting for what K3s's options name on this node"
  while true; do
    ended=false
    ! cloud_init_ended || ended=true
    lacks=()
    for ((number = 0; number + 2 < ${#objects[@]}; number += 3)); do
      text=$(lack "${objects[@]:number:3}")
      [[ -z $text ]] || lacks+=("$text")
    done
    ((${#lacks[@]})) || return 0
    if [[ $ended == true ]] || ((SECONDS >= LIMIT_SECONDS)); then break; fi
    pause 1
  done
  for text in "${lacks[@]}"; do note "$text"; done
  fail "K3s cannot run with the options above on this node, so nothing was changed"
}
