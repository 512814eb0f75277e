"""`lab refresh`: `pulumi refresh`, which also passes over what only a stopped machine's API knows."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from cli import backend as backends
from cli import engine, hints, locks, selection


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process."""
    hints.about_libvirt(options.stack)
    backend = backends.use(options.stack)
    engine.install_plugins()
    locks.release_and_report(backend, options.stack)
    stack = selection.create(backend, options.stack, options.words)
    # A stopped machine takes its API with it; what only that API knows keeps its state.
    if not os.environ.get("PULUMI_K8S_SKIP_UPDATE_UNREACHABLE"):
        os.environ["PULUMI_K8S_SKIP_UPDATE_UNREACHABLE"] = "true"
    # What a killed run may have made is adopted when it is created again, so the note of it can be cleared.
    engine.become(["refresh", *stack, *engine.consent(options.yes), "--clear-pending-creates", *options.words])
