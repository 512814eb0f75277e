"""A rotation that is a run of the program: `up`, with the request in the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from cli.verbs import up

REQUEST = "K3S_MACVLAN_ROTATE"
"""That of components.cluster.rotation, which imports Pulumi."""


def run(options: argparse.Namespace, check: Callable[[Sequence[str]], None] | None = None) -> NoReturn:
    """Ends as pulumi, in place of this process. LabError where there is no stack yet: what is made then is new anyway.

    check: is called before the request is made, with Pulumi's options for the stack.
    """
    nothing = f"there is no stack {options.stack} yet, so there is nothing to rotate: ./lab -s {options.stack} up"

    def request(stack: Sequence[str]) -> None:
        if check:
            check(stack)
        os.environ[REQUEST] = options.what

    up.run(options, without_stack=nothing, before=request)
