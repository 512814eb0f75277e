"""redact.py."""

from pathlib import Path

import pytest

from components.node.scripts.redact import redact, secrets_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl: https://me:pass@mirror/x", "curl: https://[redacted]@mirror/x"),
        ("curl: 'https://me:pa/ss@mirror/x'", "curl: 'https://[redacted]@mirror/x'"),
        ("https://me:p@ss@mirror/x and https://mirror:8443/x@1", "https://[redacted]@mirror/x and https://mirror:8443/x@1"),
        ("https://mirror/x, write to me@mirror", "https://mirror/x, write to me@mirror"),
        ("K3S_TOKEN=abc123, done", "K3S_TOKEN=[redacted], done"),
        ("token: \"abc123\" and 'password': 'x y'", "token: [redacted] and 'password': [redacted] y'"),
        ("--agent-token abc123 --debug", "--agent-token [redacted] --debug"),
        ("Authorization: Bearer abcdef0123", "Authorization: Bearer [redacted]"),
        ("K10abcdef0123::server:abc", "[redacted]"),
        ("token=https://auth/x is an address", "token=https://auth/x is an address"),
        ("nothing of that", "nothing of that"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert redact(text, set()) == shown


def test_secrets_of_files_are_not_shown_wherever_they_stand(tmp_path: Path) -> None:
    for path, text in {
        "var/lib/rancher/k3s/server/token": "K10aabbccddee::server:sesame\n",
        "var/lib/k3s-macvlan/files": "/etc/rancher/k3s/config.yaml\n/etc/none\n",
        "etc/rancher/k3s/config.yaml": 'agent-token: "open-it"\ndebug: true\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    secrets = secrets_of(str(tmp_path))
    assert {"sesame", "open-it", "K10aabbccddee::server:sesame"} <= secrets
    assert redact("sesame, and open-it: true", secrets) == "[redacted], and [redacted]: true"
    assert redact("/etc and abc", {"/etc", "abc"}) == "/etc and abc", "paths and what is short are no secrets"
