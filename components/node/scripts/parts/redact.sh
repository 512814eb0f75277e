# shellcheck shell=bash
# Part of k3s-install.sh and k3s-certificates.sh: `redact` takes tokens and passwords out of what is shown, from stdin to stdout. The
# script exports ROOT.
redact=$(< "${0%/*}/redact.py")
redact() { python3 -c "$redact"; }
