"""`lab up`: doctor's checks of the hypervisors, then `pulumi up`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from cli import backend as backends
from cli import engine, hints, locks, selection, unread
from cli.errors import LabError


def main(options: argparse.Namespace) -> NoReturn:
    """Ends as pulumi, in place of this process."""
    run(options, options.words)


def run(
    options: argparse.Namespace,
    words: Sequence[str] = (),
    *,
    without_stack: str = "",
    before: Callable[[Sequence[str]], None] | None = None,
) -> NoReturn:
    """The same.

    without_stack: the error where there is no stack yet, in place of creating it. before: called at the last moment, with Pulumi's
    options for the stack.
    """
    unread.refuse(options.stack)
    hints.about_libvirt(options.stack)
    backend = backends.use(options.stack)
    if without_stack and selection.existing(backend, options.stack, words) is None:
        raise LabError(without_stack)
    engine.install_plugins()
    locks.release_and_report(backend, options.stack)
    refuse_unfit_hosts(options.stack)
    stack = selection.create(backend, options.stack, words)
    if before:
        before(stack)
    engine.become(["up", *stack, *engine.consent(options.yes), *words])


def refuse_unfit_hosts(stack: str) -> None:
    """doctor's checks of the stack's hypervisors, unless LAB_DOCTOR=off. LabError where one of them is an error."""
    if os.environ.get("LAB_DOCTOR") == "off":
        return
    from cli.verbs import doctor  # noqa: PLC0415 - it takes most of a second to import

    if doctor.before_up(stack):
        raise LabError(
            "nothing was created or changed: mend what is called an error above, or continue all the same with LAB_DOCTOR=off"
        )
