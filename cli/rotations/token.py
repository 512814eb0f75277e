"""`lab rotate token`: the tokens by which nodes join."""

from __future__ import annotations

import argparse
from typing import NoReturn

from cli.rotations import by_run


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process. LabError where `up` has anything else to change: a server that it recreates would
    join, with the new token, others that have the former one."""
    by_run.run(options, alone=True)
