"""`python -m cli [-s STACK] [-y] VERB [ARGUMENTS]`, called by `lab`, which has put in place what the verb needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from cli import command_line
from cli.errors import LabError
from cli.report import say


def main(arguments: Sequence[str]) -> int:
    """The verb's status. Its module alone is imported: those that read settings take most of a second."""
    options = command_line.parse(arguments)
    status: int = import_module(f"cli.verbs.{options.verb}").main(options)
    return status


def entry() -> int:
    """The same, with what went wrong as text and not as a traceback."""
    try:
        return main(sys.argv[1:])
    except LabError as error:
        say(str(error))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.filename is None:  # not of a file, so a mistake of ours
            raise
        say(f"{os.fsdecode(error.filename)}: {error.strerror}")
    except Exception as error:
        from components.config.problems import SettingsError  # noqa: PLC0415 - it imports pydantic
        from components.custom.reporting import PlainError  # noqa: PLC0415

        if not isinstance(error, SettingsError | PlainError):
            raise
        say(str(error))
    return 1


if __name__ == "__main__":
    sys.exit(entry())
