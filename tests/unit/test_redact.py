"""What text for people shows of URLs, tokens and keys."""

from __future__ import annotations

import pytest

from components.redact import shown, without_credentials, without_secrets

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("https://user:secret@example.org:8443/a/b.img?token=secret#part", "https://example.org:8443/a/b.img"),
        ("https://example.org/b.img?token=secret", "https://example.org/b.img"),
        ("https://secret@example.org/b.img", "https://example.org/b.img"),
        ("https://user:sec@ret@example.org/b.img", "https://example.org/b.img"),
        ("https://user:sec/ret@example.org/b.img", "https://example.org/b.img"),
        ("https://example.org:8443/b@1.img", "https://example.org:8443/b@1.img"),
        ("https://example.org/b.img", "https://example.org/b.img"),
        ("file:///srv/images/b@2.img", "file:///srv/images/b@2.img"),
        ("/srv/images/what?.img", "/srv/images/what?.img"),
    ],
)
def test_a_source_is_shown_without_user_password_and_query(source: str, text: str) -> None:
    assert shown(source) == text


def test_credentials_in_urls_of_a_text_are_hidden_and_nothing_else() -> None:
    text = "'http://user:secret@proxy:3128' or https://:secret@b.org/x@1, mail me@example.org; http://a b@c"
    hidden = "'http://[hidden]@proxy:3128' or https://[hidden]@b.org/x@1, mail me@example.org; http://a b@c"
    assert without_credentials(text) == hidden
    assert without_credentials("'http://user:sec/ret@proxy:3128'") == "'http://[hidden]@proxy:3128'"


def test_join_tokens_and_private_keys_are_redacted_also_when_cut_off() -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n"
    text = f"a K10abcdef0123::server:secret b\n{key}-----END OPENSSH PRIVATE KEY-----\nc {key}"
    assert without_secrets(text) == "a [redacted] b\n[redacted]\nc [redacted]"
    assert without_secrets("K10 of 20; -----BEGIN CERTIFICATE-----") == "K10 of 20; -----BEGIN CERTIFICATE-----"
