"""`lab up`: doctor's checks of the hypervisors, then `pulumi up`."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from cli import backend as backends
from cli import engine, hints, locks, selection
from cli.errors import LabError


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process."""
    hints.about_libvirt(options.stack)
    backend = backends.use(options.stack)
    engine.install_plugins()
    locks.release_and_report(backend, options.stack)
    if os.environ.get("LAB_DOCTOR") != "off":
        from cli.verbs import doctor  # noqa: PLC0415 - it takes most of a second to import

        if doctor.before_up(options.stack):
            raise LabError(
                "nothing was created or changed: mend what is called an error above, or go on all the same with LAB_DOCTOR=off"
            )
    stack = selection.create(backend, options.stack, options.words)
    engine.become(["up", *stack, *engine.consent(options.yes), *options.words])
