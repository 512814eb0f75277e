"""`lab pulumi`: any pulumi command, on the state that the other verbs use."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from cli import backend as backends
from cli import engine

_SELECTED = "PULUMI_STACK"
"""Pulumi's variable for the stack of commands that name none."""


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process. The stack, by which its state is found, is the one that pulumi's words name, else
    that of -s."""
    backends.use(_named(options.words) or options.stack)
    if options.named_stack:
        os.environ[_SELECTED] = options.named_stack
    engine.become(options.words)


def _named(words: Sequence[str]) -> str:
    """The stack that words for pulumi name: by an option, or as an argument (`stack rm NAME`, `cancel NAME`) where its state is
    here. Empty if they name none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-s", "--stack", default="")
    try:
        named = parser.parse_known_args(words)[0].stack
    except argparse.ArgumentError:  # an option without its value, which pulumi itself refuses
        return ""
    here = backends.Backend(project=backends.project_name(), local=True)
    return str(named) or next((word for word in words if not word.startswith("-") and here.has(word)), "")
