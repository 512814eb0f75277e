"""`lab pulumi`: any pulumi command, on the state that the other verbs use."""

from __future__ import annotations

import argparse
from typing import NoReturn

from cli import backend as backends
from cli import engine


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process."""
    backends.use(options.stack)
    engine.become(options.words)
