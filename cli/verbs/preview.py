"""`lab preview`: `pulumi preview` with the changes of each input, and with the rules of policy/."""

from __future__ import annotations

import argparse
from typing import NoReturn

from cli import backend as backends
from cli import engine, hints, needs, selection, unread


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process."""
    unread.refuse(options.stack)
    if needs.reaches_hypervisor(options):
        hints.about_libvirt(options.stack)
    backend = backends.use(options.stack)
    engine.install_plugins()
    stack = selection.create(backend, options.stack, options.words)
    engine.become(["preview", *stack, "--diff", "--policy-pack", "policy", *options.words])
