# shellcheck shell=bash
# Part of scripts: `stage TEXT` says the text now and every 10 s until the next stage, whatever blocks meanwhile; without a
# text it is quiet. The script has `note`, and may hold a lock as descriptor 9.
beat=
stage() {
  [[ -z $beat ]] || kill "$beat" 2> /dev/null || true
  beat=
  if (($#)); then
    note "$*"
    (while sleep 10 > /dev/null 2>&1 9>&- && kill -0 $$ 2> /dev/null; do note "$*, $SECONDS s"; done) 9>&- &
    beat=$!
  fi
}
trap stage EXIT
