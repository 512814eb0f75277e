"""`lab rotate token`: the tokens by which nodes join."""

from __future__ import annotations

import argparse
from typing import NoReturn

from cli.rotations import by_run


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process."""
    by_run.run(options)
