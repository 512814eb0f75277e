"""What one run of the program is to rotate, whatever is left of it. A request, and no setting: the next run has none. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from components.config.plan import k3s_release

REQUEST = "K3S_MACVLAN_ROTATE"
"""The environment variable of a run that has the request."""

KINDS = ("certificates", "token")

# Releases that have no rotation of the servers' token: k3s-io/k3s pull request 8265 of October 2023, and its backports.
_TOKEN_SINCE = {25: 15, 26: 10, 27: 7, 28: 3}


def requested(environment: Mapping[str, str], version: str) -> str:
    """The request, or "". version: K3s's release. Raises ValueError for one that cannot be met."""
    kind = environment.get(REQUEST, "")
    if kind and kind not in KINDS:
        raise ValueError(f"{REQUEST}={kind} in the environment is no rotation; there are: {', '.join(KINDS)}")
    minor, patch = k3s_release(version)
    if kind == "token" and (minor < min(_TOKEN_SINCE) or patch < _TOKEN_SINCE.get(minor, 0)):
        since = ", ".join(f"v1.{at}.{first}" for at, first in _TOKEN_SINCE.items())
        raise ValueError(f"k3s.version = {version} cannot rotate its token; {since} and later can: upgrade first")
    return kind
