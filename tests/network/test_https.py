"""Encrypted endpoints: trusted ones are spoken to, all others are not."""

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import certifi
import pytest
import trio

from executor.errors import ErrorCode
from executor.faults import Source, TransportError
from executor.network import httpx_transport, trio_transport
from executor.network.http import TRANSPORTS, Http

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")

NAME = "localhost"


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def trusted(identity: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Our certificate in place of the authorities that certifi lists."""
    monkeypatch.setattr(certifi, "where", lambda: str(identity[0]))
    for module in (trio_transport, httpx_transport):
        module._trusting_context.cache_clear()
    yield
    for module in (trio_transport, httpx_transport):
        module._trusting_context.cache_clear()


@asynccontextmanager
async def _https(identity: tuple[Path, Path]) -> AsyncIterator[int]:
    """Answer every request with what protocol was agreed on."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*identity)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def serve(stream: "trio.SSLStream[trio.SocketStream]") -> None:
        try:
            while await stream.receive_some():
                agreed = str(stream.selected_alpn_protocol()).encode()
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(agreed), agreed))
        except trio.BrokenResourceError:
            return  # a peer that does not trust us, or that closes without TLS's goodbye

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        secured = [trio.SSLListener(listener, context) for listener in listeners]
        await nursery.start(trio.serve_listeners, serve, secured)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_trusted_endpoint_is_spoken_to_in_http_1_1(transport: str, identity: tuple[Path, Path]) -> None:
    """Twice over one handshake, whatever else the server offers."""
    async with _https(identity) as port:
        http = Http(f"https://{NAME}:{port}", source=Source.NODE, timeout_seconds=5.0, transport=TRANSPORTS[transport])
        async with aclosing(http):
            answers = [await http.request("POST", operation="x", body=b"{}") for _ in range(2)]

    assert [answer.body for answer in answers] == [b"http/1.1"] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("host", [NAME, "127.0.0.1"])
async def test_a_stranger_is_not_spoken_to(transport: str, host: str, identity: tuple[Path, Path]) -> None:
    """A certificate that no authority signed ends the handshake, with OpenSSL's own name for it, for good."""
    async with _https(identity) as port:
        http = Http(f"https://{host}:{port}", source=Source.NODE, timeout_seconds=5.0, transport=TRANSPORTS[transport])
        async with aclosing(http):
            with pytest.raises(TransportError) as caught:
                await http.request("POST", operation="x", body=b"{}")

    assert caught.value.fault.code is ErrorCode.NODE_UNREACHABLE
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.fault.detail
    assert not caught.value.fault.worth_repeating


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_certificate_for_another_name_is_not_enough(transport: str, identity: tuple[Path, Path]) -> None:
    """Whom we asked for is who has to answer."""
    async with _https(identity) as port:
        http = Http(f"https://127.0.0.1:{port}", source=Source.NODE, timeout_seconds=5.0, transport=TRANSPORTS[transport])
        async with aclosing(http):
            with pytest.raises(TransportError) as caught:
                await http.request("POST", operation="x", body=b"{}")

    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.fault.detail
