# shellcheck shell=bash
# Part of scripts that exchange the cluster's data: `set_encryption true|false` switches secrets-encryption on or off in config.yaml, as
# the cluster in the snapshot has it; the stack's settings say the same (cli/restore_checks.py), and may be newer than this node's file.
# With the former value K3s would make a key and leave the snapshot's Secrets as they are, or could not read them. The script has ROOT.
set_encryption() {
  local file=$ROOT/etc/rancher/k3s/config.yaml
  {
    sed '/^secrets-encryption:/d' "$file"
    [[ $1 == false ]] || echo "secrets-encryption: true"
  } > "$file.new"
  chmod 0600 "$file.new"
  mv "$file.new" "$file"
}
