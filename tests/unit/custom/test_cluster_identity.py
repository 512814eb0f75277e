"""Which release may follow which, and when a cluster is another one."""

from __future__ import annotations

from typing import Any

import pytest

from components.custom.cluster_identity import ReleaseProvider, refusal

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v1.27.8+k3s2", "v1.27.8+k3s2"),
        ("v1.27.8+k3s2", "v1.27.16+k3s1"),
        ("v1.27.8+k3s2", "v1.28.15+k3s1"),
        ("v1.28.15+k3s1", "v1.29.0+k3s1"),
    ],
)
def test_allowed(old: str, new: str) -> None:
    assert refusal(old, new) == ""


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("v1.28.15+k3s1", "v1.27.8+k3s2", "cannot go back"),
        ("v1.27.8+k3s2", "v1.27.7+k3s1", "cannot go back"),
        ("v1.27.8+k3s2", "v1.29.10+k3s1", "Set a v1.28 release first"),
    ],
)
def test_refused(old: str, new: str, text: str) -> None:
    assert text in refusal(old, new)


def checked(olds: dict[str, Any], **news: Any) -> tuple[dict[str, Any], list[str]]:
    base = {"version": "v1.28.15+k3s1", "serial": "one", "alone": True}
    result = ReleaseProvider().check(olds, {**base, **news})
    return result.inputs, [failure.reason for failure in result.failures]


def test_identity_is_kept() -> None:
    first, failures = checked({})
    assert not failures
    assert checked(first)[0] == first
    assert ReleaseProvider().diff("", first, checked(first)[0]).changes is False


def test_more_servers_are_the_same_cluster() -> None:
    first, _ = checked({})
    more, _ = checked(first, alone=False)
    assert more["cluster"] == first["cluster"]
    rebuilt, _ = checked(more, alone=False, serial="two")
    assert rebuilt["cluster"] == first["cluster"]
    assert (first["founder"], more["founder"], rebuilt["founder"]) == ("one", "one", "one"), "rebuilt, it joins the others"
    diff = ReleaseProvider().diff("", first, more)
    assert diff.changes
    assert not diff.replaces


def test_the_only_server_made_anew_is_another_cluster_of_any_release() -> None:
    first, _ = checked({})
    other, failures = checked(first, serial="two", version="v1.27.8+k3s2")
    assert not failures
    assert other["cluster"] != first["cluster"]
    assert other["founder"] == "two"
    assert ReleaseProvider().diff("", first, other).replaces == ["cluster"]


def test_a_step_back_fails_the_check() -> None:
    first, _ = checked({})
    assert "cannot go back" in checked(first, version="v1.27.8+k3s2")[1][0]
