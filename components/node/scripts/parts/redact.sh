# shellcheck shell=bash
# Part of scripts that show what others have written: `redact` takes tokens and passwords out of what is shown, from stdin to stdout. The
# script exports ROOT.
redact=$(< "${0%/*}/redact.py")
redact() { python3 -c "$redact"; }
