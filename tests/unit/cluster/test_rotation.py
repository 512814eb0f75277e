"""What a run may be set to rotate."""

import pytest

from components.cluster.rotation import REQUEST, requested

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", ["", "certificates", "token"])
def test_a_request_is_of_one_run(kind: str) -> None:
    assert requested({REQUEST: kind} if kind else {}, "v1.36.4+k3s1") == kind


def test_what_is_no_rotation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"K3S_MACVLAN_ROTATE=all .* is no rotation; there are: certificates, token"):
        requested({REQUEST: "all"}, "v1.36.4+k3s1")


@pytest.mark.parametrize("version", ["v1.24.17+k3s1", "v1.26.9+k3s1", "v1.27.6+k3s1", "v1.28.2+k3s1"])
def test_a_release_without_rotation_of_the_token_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"cannot rotate its token; v1\.25\.15.* upgrade first"):
        requested({REQUEST: "token"}, version)
    assert requested({REQUEST: "certificates"}, version) == "certificates"


@pytest.mark.parametrize("version", ["v1.25.15+k3s1", "v1.27.7+k3s1", "v1.27.8+k3s2", "v1.28.3+k3s1", "v1.29.0+k3s1"])
def test_later_ones_have_it(version: str) -> None:
    assert requested({REQUEST: "token"}, version) == "token"
