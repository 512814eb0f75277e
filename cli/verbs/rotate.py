"""`lab rotate`: new certificates or a new token, by the module of that name in `cli.rotations`."""

from __future__ import annotations

import argparse
from importlib import import_module


def main(options: argparse.Namespace) -> int:
    """The rotation's status. Its module alone is imported."""
    status: int = import_module(f"cli.rotations.{options.what.replace('-', '_')}").main(options)
    return status
