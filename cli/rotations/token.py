"""`lab rotate token`: the tokens by which nodes join."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from cli import pending, running_servers
from cli.rotations import by_run


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process.

    LabError where `up` has anything else to change, or K3s does not run on a server: a server that is recreated or started
    meanwhile would join, with the new token, others that have the former one.
    """

    def check(chosen: Sequence[str]) -> None:
        pending.refuse(options.stack, chosen)
        running_servers.refuse_without(options.stack)

    by_run.run(options, check)
