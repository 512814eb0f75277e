"""Reports the CNI configuration of Multus that the kubelet takes (first by name), or what is wrong with it.

Arguments: the root, the directory of CNI's configurations. Exit: 0 with the file's name; 1 with the reason on stdout.
"""

import json
import os
import re
import sys


class ConfigurationError(Exception):
    """What is missing or wrong."""


def configuration(root: str, directory: str) -> str:
    kubeconfig = directory + "/multus.d/multus.kubeconfig"
    names = ("00-multus.conf", "00-multus.conflist")
    name = next((name for name in names if os.path.exists(f"{root}{directory}/{name}")), None)
    if name is None:
        raise ConfigurationError("neither 00-multus.conf nor 00-multus.conflist exists")
    try:
        with open(f"{root}{directory}/{name}", encoding="utf-8") as file:
            content = json.load(file)
        plugin = content["plugins"][0] if name.endswith("list") else content
        kind, used = plugin.get("type"), plugin.get("kubeconfig")
    except (OSError, ValueError, AttributeError, KeyError, IndexError, TypeError):
        raise ConfigurationError(f"{name} is not a valid CNI configuration") from None
    if kind != "multus":
        raise ConfigurationError(f"{name} is of type {kind!r}, not multus")
    if used and os.path.normpath(used) != os.path.normpath(kubeconfig):
        raise ConfigurationError(
            f"{name} names the kubeconfig {used}, which must be {kubeconfig} (argument --multus-kubeconfig-file-host)"
        )
    try:
        with open(root + kubeconfig, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        raise ConfigurationError("multus.d/multus.kubeconfig does not exist") from None
    if not re.search(r"""(?m)^\s*token:\s*["']?[^"'\s]""", text):
        raise ConfigurationError("multus.d/multus.kubeconfig has no token: is the Secret of its service account filled?")
    return name


if __name__ == "__main__":
    try:
        print(configuration(sys.argv[1], sys.argv[2]))
    except ConfigurationError as problem:
        print(problem)
        sys.exit(1)
