"""The admin listener over TLS: with a client authority set, only its certificates get as far as the token."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.admin import build_admin
from proxy.app import _tls
from proxy.cli.admin_client import AdminClient, AdminUnreachable
from proxy.config import SettingsInvalid, from_mapping
from tests.proxy.admin.conftest import TOKEN


def made(folder, name, by=None):
    """A certificate for 127.0.0.1 and its key, signed by itself or by another; and one file with both."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    issuer, issuer_key = (own, key) if by is None else by
    certificate = (
        x509.CertificateBuilder().subject_name(own).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for ending, content in (("pem", pem), ("key", secret), ("both", secret + pem)):
        file = folder / f"{name}.{ending}"
        file.touch(mode=0o600)
        file.write_bytes(content)
    return own, key


def settings_of(folder, **tls):
    """Settings with this TLS for the admin listener."""
    tree = {"admin": {"tls": {"cert": "server.pem", "key": "server.key", **tls}}}
    return from_mapping(tree, base=folder)


async def test_only_known_certificates_get_in(admin, tmp_path):
    """The command's own certificate does, with the token; none, and a stranger's, end in the handshake."""
    authority = made(tmp_path, "authority")
    made(tmp_path, "server")
    made(tmp_path, "anna", by=authority)
    made(tmp_path, "stranger")
    settings = settings_of(tmp_path, client_ca="authority.pem", client_cert="anna.both")
    (tmp_path / "token").write_text(TOKEN)
    runner = web.AppRunner(build_admin(admin.parts(), token=TOKEN.encode()))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls(settings.admin.tls)).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"

    def asked(certificate):
        client = AdminClient(url, tmp_path / "token", None, tmp_path / "server.pem", certificate)
        return client.get("/admin/v1/ess")["epoch"]

    try:
        assert await asyncio.to_thread(asked, settings.admin.tls.client_cert) == 1
        for certificate in (None, tmp_path / "stranger.both"):
            with pytest.raises(AdminUnreachable):
                await asyncio.to_thread(asked, certificate)
    finally:
        await runner.cleanup()


def test_without_an_authority_nobody_is_asked_for_a_certificate(tmp_path):
    """TLS alone is as it was."""
    made(tmp_path, "server")

    assert _tls(settings_of(tmp_path).admin.tls).verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("key", ["client_ca", "client_cert"])
def test_a_file_that_is_not_there_stops_the_start(tmp_path, key):
    """A listener that asked nobody in the end would look safe."""
    made(tmp_path, "server")
    with pytest.raises(SettingsInvalid, match=f"admin.tls.{key}"):
        settings_of(tmp_path, **{key: "gone.pem"})


def test_a_key_that_others_can_read_stops_the_start(tmp_path):
    """The commands' certificate comes with its key."""
    made(tmp_path, "server")
    (tmp_path / "server.both").chmod(0o644)
    with pytest.raises(SettingsInvalid, match=r"chmod 600"):
        settings_of(tmp_path, client_cert="server.both")
