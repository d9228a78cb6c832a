"""TLS: encrypted calls, and callers known by their certificates."""

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from attrs import frozen

from tests.rpc.raw_peer import raw_peer
from tests.rpc.serving import Served, call, failure, quick, serving, until

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")


@frozen
class Identity:
    """A self-signed certificate and its key."""

    certificate: Path
    key: Path


@pytest.fixture
def ours(tmp_path: Path) -> Identity:
    """The server's identity."""
    return _make(tmp_path, "localhost")


@pytest.fixture
def strategy(tmp_path: Path) -> Identity:
    """A caller's identity."""
    return _make(tmp_path, "strategy-7")


def _make(folder: Path, name: str) -> Identity:
    made = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, *names, "-keyout", made.key, "-out", made.certificate], check=True, capture_output=True)
    return made


@asynccontextmanager
async def _serving(ours: Identity, *, trusted: Identity | None = None, preface_seconds: float = 5.0) -> AsyncIterator[Served]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ours.certificate, ours.key)
    if trusted is not None:
        context.load_verify_locations(trusted.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    async with serving(quick(preface_seconds=preface_seconds), ssl_context=context) as served:
        yield served


def _channel(served: Served, ours: Identity, shown: Identity | None = None) -> grpc.Channel:
    pair = {"private_key": shown.key.read_bytes(), "certificate_chain": shown.certificate.read_bytes()} if shown else {}
    credentials = grpc.ssl_channel_credentials(ours.certificate.read_bytes(), **pair)
    return grpc.secure_channel(served.address, credentials, options=[("grpc.ssl_target_name_override", "localhost")])


async def test_calls_are_encrypted(ours: Identity) -> None:
    """A stock client that trusts the server's certificate is served."""
    async with _serving(ours) as served:
        with _channel(served, ours) as channel:
            assert await call(channel, "Echo", "hidden") == "hidden"
            assert served.probe.calls[0].peer.certificate_name is None


async def test_callers_are_known_by_their_certificates(ours: Identity, strategy: Identity) -> None:
    """Where a certificate is asked for, the handler knows whose it is."""
    async with _serving(ours, trusted=strategy) as served:
        with _channel(served, ours, strategy) as channel:
            assert await call(channel, "Echo") == "x"
            assert served.probe.calls[0].peer.certificate_name == "strategy-7"
        await until(lambda: served.server.connections == 0)


async def test_callers_without_a_certificate_are_turned_away(ours: Identity, strategy: Identity) -> None:
    """Where a certificate is asked for, nobody is served without; a caller in the clear is turned away too."""
    async with _serving(ours, trusted=strategy) as served:
        with _channel(served, ours) as channel:
            assert (await failure(channel, "Echo")).code() is grpc.StatusCode.UNAVAILABLE
        async with raw_peer(served) as peer:
            await peer.goaways()
        with _channel(served, ours, strategy) as channel:
            assert await call(channel, "Echo") == "x"


async def test_a_handshake_that_does_not_come_is_not_waited_for(ours: Identity) -> None:
    """A silent connection is closed before it has become TLS."""
    async with _serving(ours, preface_seconds=0.05) as served, raw_peer(served, greet=False) as peer:
        await peer.goaways()
        await until(lambda: served.server.connections == 0)
