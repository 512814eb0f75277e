"""YAML that K3s and cloud-init read as it was meant: text that YAML 1.2 or Go's yaml takes for a number is in quotes. Pure.

PyYAML knows YAML 1.1 alone, where `1e3`, `08` and `0o17` are text, so it writes them without quotes. Go's yaml reads numbers there:
a password `1e3` in registries.yaml would be refused.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

INTEGER = re.compile(r"[-+]?(0[bB][01_]+|0[oO]?[0-7_]+|0[xX][0-9a-fA-F_]+|[1-9][0-9_]*|0)\Z")
"""An integer by yaml.v3's resolve.go, which takes underscores out first."""
FLOAT = re.compile(r"[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9_]+)?\Z")
"""A float likewise."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that knows these numbers too. A text is quoted where it would be read as something else."""

    # A copy: PyYAML's own is shared by all of its dumpers.
    yaml_implicit_resolvers = {first: list(kinds) for first, kinds in yaml.SafeDumper.yaml_implicit_resolvers.items()}  # noqa: RUF012


for _kind, _pattern in (("int", INTEGER), ("float", FLOAT)):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list("-+.0123456789"))


def dump(document: Any, *, sort_keys: bool = True, width: int = 80, allow_unicode: bool = False) -> str:
    """The document as YAML. width: where long texts are folded, in characters. allow_unicode: other than ASCII is not escaped."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=sort_keys, width=width, allow_unicode=allow_unicode)
    return text
