"""Which release may follow which, and when a cluster is another one."""

from __future__ import annotations

from typing import Any

import pytest

from components.custom import cluster_identity
from components.custom.cluster_identity import ReachedReleaseProvider, ReleaseProvider, refusal

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


def reached(olds: dict[str, Any], version: str, cluster: str = "c") -> list[str]:
    result = ReachedReleaseProvider().check(olds, {"version": version, "cluster": cluster})
    assert result.inputs == {"version": version, "cluster": cluster}
    return [failure.reason for failure in result.failures]


def test_steps_are_compared_with_the_release_that_the_servers_reached() -> None:
    has = {"version": "v1.28.15+k3s1", "cluster": "c"}
    assert reached({}, "v1.27.8+k3s2") == [] == reached(has, "v1.29.0+k3s1")
    assert "cannot go back" in reached(has, "v1.27.8+k3s2")[0]
    assert "Set a v1.29 release first" in reached(has, "v1.30.0+k3s1")[0]
    assert reached(has, "v1.27.8+k3s2", cluster="of a recreated only server") == []
    provider = ReachedReleaseProvider()
    assert not provider.diff("", has, dict(has)).changes
    assert (
        provider.diff("", has, {**has, "version": "v1.29.0+k3s1"}).changes
        and provider.diff("", has, {**has, "cluster": "d"}).changes
    )
    assert provider.create(has).outs == has == provider.update("", {}, has).outs


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


def test_the_only_server_recreated_is_another_cluster_of_any_release() -> None:
    first, _ = checked({})
    other, failures = checked(first, serial="two", version="v1.27.8+k3s2")
    assert not failures
    assert other["cluster"] != first["cluster"]
    assert other["founder"] == "two"
    assert ReleaseProvider().diff("", first, other).replaces == ["cluster"]


def test_any_release_is_the_same_cluster() -> None:
    first, _ = checked({})
    other, failures = checked(first, version="v1.27.8+k3s2")
    assert not failures and other["cluster"] == first["cluster"]


def test_a_rebuilt_only_server_with_its_data_on_a_disk_of_their_own_is_the_same_cluster() -> None:
    first, _ = checked({}, data="d1")
    assert first["founder"] == "d1"
    rebuilt, _ = checked(first, serial="two", data="d1")
    assert (rebuilt["cluster"], rebuilt["founder"]) == (first["cluster"], "d1")
    diff = ReleaseProvider().diff("", first, rebuilt)
    assert diff.changes and not diff.replaces
    other, _ = checked(first, data="d2")
    assert other["cluster"] != first["cluster"] and other["founder"] == "d2"


@pytest.mark.parametrize(("before", "after"), [(None, "d1"), ("d1", None)])
def test_data_moved_between_the_disks_of_a_machine_are_the_same_cluster(before: str | None, after: str | None) -> None:
    """With another machine at once there was nothing to move."""
    first, _ = checked({}, data=before)
    moved, _ = checked(first, data=after)
    assert moved["cluster"] == first["cluster"] and moved["founder"] == (after or "one")
    rebuilt, _ = checked(first, serial="two", data=after)
    assert rebuilt["cluster"] != first["cluster"]


def test_data_moved_on_a_first_server_that_joined_others_leave_its_founder() -> None:
    first, _ = checked({}, alone=False)
    joined, _ = checked(first, alone=False, serial="two")
    assert checked(joined, alone=False, serial="two", data="d1")[0]["founder"] == "one"


def test_the_loss_of_the_cluster_is_said_with_what_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cluster_identity, "remark", said.append)
    first, _ = checked({})
    ReleaseProvider().diff("", first, checked(first)[0])
    ReleaseProvider().diff("", first, checked(first, alone=False, serial="two")[0])
    assert said == []
    ReleaseProvider().diff("", first, checked(first, serial="two")[0])
    assert len(said) == 1 and "./lab backup before" in said[0]
