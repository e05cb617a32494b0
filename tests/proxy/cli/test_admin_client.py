"""The commands' way to the admin API: where it looks, and what it says when nothing good comes back."""

import pytest

from proxy.cli.admin_client import AdminClient, AdminRefused, AdminUnreachable
from proxy.config import from_mapping


def of(tmp_path, **admin: object) -> AdminClient:
    """The client of settings with this admin section."""
    return AdminClient.of(from_mapping({"admin": admin}, base=tmp_path))


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:9", "http://127.0.0.1:9"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("[::]:9", "http://[::1]:9"),
        ("[::1]:9", "http://[::1]:9"),
    ],
)
def test_a_wildcard_address_is_reached_on_loopback(tmp_path, bind, url):
    """Where the proxy listens on all addresses, commands on the machine use its own."""
    assert of(tmp_path, bind=bind, allow_public="true").url == url


def test_tls_trusts_the_configured_certificate(tmp_path):
    """With TLS the address is https and the configured certificate is what is trusted."""
    for name in ("cert", "key"):
        (tmp_path / name).write_text("pem")
        (tmp_path / name).chmod(0o600)
    client = of(tmp_path, bind="127.0.0.1:9", tls={"cert": "cert", "key": "key"})

    assert client.url == "https://127.0.0.1:9"
    assert client.ca_file == tmp_path / "cert"


def test_a_missing_token_file_says_which(tmp_path):
    """Before the first start there is no token; the sentence names the file."""
    with pytest.raises(AdminUnreachable, match="admin_token"):
        AdminClient("http://127.0.0.1:1", tmp_path / "admin_token").get("/x")


def test_a_refusal_carries_status_and_sentence(admin, tmp_path):
    """What the API says of a refusal is passed on, never the token."""
    (tmp_path / "token").write_text("t0ken")
    admin.refuse_with = 409
    with pytest.raises(AdminRefused, match="answered 409: not you") as caught:
        AdminClient(admin.url, tmp_path / "token").get("/admin/v1/status")

    assert caught.value.status == 409
    assert "t0ken" not in str(caught.value)
