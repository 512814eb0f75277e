"""What the program does without, where Pulumi runs it: two things of Pulumi's SDK, and most garbage collections.

The SDK's debug messages: five for each resource, each a request to the engine that the whole program waits for, and shown with
`--debug` alone. Its search for circles among dependencies: for each dependency of each resource it walks over all that the other
one depends on, and for pods on all nodes that takes the cube of their number. Tests do without neither: there it searches the graph
of every stack file.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from pulumi import log
from pulumi.runtime import rpc

SWITCH = "LAB_SDK_SHORTCUTS"
"""Environment variable: with `off` the program does without nothing."""

_GARBAGE = 50_000
"""New objects until the next collection; 700 by default."""


def take() -> None:
    """Unless LAB_SDK_SHORTCUTS=off."""
    if os.environ.get(SWITCH) != "off":
        skip(log, rpc)
        keep_garbage()


def skip(messages: Any, dependencies: Any) -> None:
    """messages, dependencies: pulumi.log and pulumi.runtime.rpc. What an SDK has not under these names is left as it is."""
    if hasattr(messages, "debug"):
        messages.debug = _no_message
    if hasattr(dependencies, "declare_dependency"):
        dependencies.declare_dependency = _no_circle


def keep_garbage() -> None:
    """Collect garbage rarely, and never look at what the modules are made of. Outputs live until the end: with 20 nodes a quarter
    of the program's time was spent in collections, which found 5 MiB (measured)."""
    gc.freeze()
    gc.set_threshold(_GARBAGE, 20, 20)


def _no_message(*_message: object, **_of: object) -> None:
    """In place of pulumi.log.debug."""


def _no_circle(_resource: object, _dependency: object) -> bool:
    """In place of `declare_dependency`, which says whether a dependency makes no circle."""
    return True
