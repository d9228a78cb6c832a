"""The HTTP boundary: deadlines, bounds, and no word of a key."""

import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from executor.errors import ConfigError, ErrorCode
from executor.faults import Source, TransportError
from executor.network.http import REDACTED, TRANSPORTS, Http, endpoint_name
from executor.network.transport import MAX_CONNECTIONS, ForeignError, HttpAnswer
from tests.support.upstream import (
    Close,
    Garbage,
    Hang,
    Oversized,
    Reply,
    Reset,
    Script,
    Slow,
    Truncated,
    Upstream,
    closed_port,
    open_upstream,
)

SECRET = "s3cr3t-Key-0123456789"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """What carries the requests; every promise holds for both."""
    return str(request.param)


@asynccontextmanager
async def http_to(url: str, transport: str, *, timeout_seconds: float = 5.0, max_body_bytes: int = 10_000) -> AsyncIterator[Http]:
    """A client that is closed at the end."""
    made = TRANSPORTS[transport]
    http = Http(url, source=Source.NODE, timeout_seconds=timeout_seconds, max_body_bytes=max_body_bytes, transport=made)
    async with aclosing(http):
        yield http


def whole_chain(error: BaseException) -> Iterator[BaseException]:
    """Everything that hangs on an exception, shown or not."""
    yield error
    for linked in (error.__cause__, error.__context__):
        if linked is not None:
            yield from whole_chain(linked)


async def test_a_request_arrives_as_it_was_made(transport: str) -> None:
    """Method, path, query fields of the URL and of the call, body and headers go out; status, headers and body come back."""
    async with open_upstream() as upstream:
        upstream.script("quote", Reply(418, b"short", (("X-Thing", "1"),)))
        url = upstream.url + "/base/?api-key=k"
        made = TRANSPORTS[transport]
        http = Http(url, source=Source.JUPITER, timeout_seconds=5.0, headers={"x-api-key": "abc"}, transport=made)
        async with aclosing(http):
            answer = await http.request("GET", "quote", operation="quote", query={"a": "1 2"}, body=None)
        (received,) = upstream.requests

    assert (received.method, received.path, received.query) == ("GET", "/base/quote", {"api-key": "k", "a": "1 2"})
    assert received.headers["x-api-key"] == "abc"
    assert received.headers["accept-encoding"] == "identity"
    assert (answer.status, answer.body, answer.headers["x-thing"]) == (418, b"short", "1")


async def test_the_path_of_an_endpoint_stays_as_it_is(transport: str) -> None:
    """Providers put keys into paths, and a slash more makes another path of it."""
    async with open_upstream() as upstream:
        upstream.always("key", Reply())
        async with http_to(upstream.url + "/v2/key", transport) as http:
            await http.request("POST", operation="getSlot", body=b"")

    assert [request.target for request in upstream.requests] == ["/v2/key"]


async def test_connections_are_kept_alive(transport: str) -> None:
    """Requests in a row share one connection."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.always("x", Reply(body=b"1"))
        for _ in range(5):
            await http.request("GET", "x", operation="x")

        assert upstream.connections == 1


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(transport: str) -> None:
    """A server that says goodbye after its answer costs nothing."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.always("x", Reply(body=b"1", headers=(("connection", "close"),)))
        for _ in range(2):
            assert (await http.request("GET", "x", operation="x")).body == b"1"

        assert upstream.connections == 2


async def test_a_connection_that_ended_or_spoke_while_idle_is_not_used() -> None:
    """Nothing is sent into a connection that is readable before it was asked anything."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        goodbyes = iter([b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n", b""])
        served: list[int] = []

        async def serve(stream: trio.SocketStream) -> None:
            served.append(0)
            with suppress(trio.BrokenResourceError):  # what was said too much is not read, and the connection reset
                while await stream.receive_some():
                    served[-1] += 1
                    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")
                    goodbye = next(goodbyes)
                    await stream.send_all(goodbye)
                    if not goodbye:
                        return

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        async with http_to(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", "trio") as http:
            for _ in range(3):
                assert (await http.request("GET", "x", operation="x")).body == b"1"
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()

    assert served == [1, 1, 1]


async def test_a_redirect_is_an_answer(transport: str) -> None:
    """Nobody sends our bytes elsewhere."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.script("x", Reply(307, headers=(("location", f"{upstream.url}/y"),)))
        answer = await http.request("GET", "x", operation="x")

    assert answer.status == 307
    assert len(upstream.requests) == 1


async def test_no_cookie_is_kept(transport: str) -> None:
    """What a server plants does not come back."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.always("x", Reply(headers=(("set-cookie", "a=1"),)))
        for _ in range(2):
            await http.request("GET", "x", operation="x")

    assert "cookie" not in upstream.requests[1].headers


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    """A proxy variable of the shell does not see our requests."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.script("x", Reply(body=b"direct"))

        assert (await http.request("GET", "x", operation="x")).body == b"direct"


async def failure_of(http: Http) -> TransportError:
    """The error of a request."""
    with pytest.raises(TransportError) as caught:
        await http.request("GET", "x", operation="fetch")
    return caught.value


FAULTS: list[tuple[Script, ErrorCode, str]] = [
    (Reset(), ErrorCode.NODE_UNREACHABLE, "the connection was lost: ECONNRESET"),
    (Close(), ErrorCode.NODE_UNREACHABLE, "the connection was lost"),
    (Garbage(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), ErrorCode.NODE_ANSWER_INVALID, "the answer broke off or was not HTTP"),
    (Truncated(Reply(body=b"0123456789"), 5), ErrorCode.NODE_ANSWER_INVALID, "the answer broke off or was not HTTP"),
    (Oversized(), ErrorCode.NODE_ANSWER_INVALID, "the answer is too large: more than 10000 bytes"),
    (Reply(body=b"x" * 10_001), ErrorCode.NODE_ANSWER_INVALID, "the answer is too large: more than 10000 bytes"),
]


@pytest.mark.parametrize(("step", "code", "detail"), FAULTS)
async def test_every_way_in_which_a_connection_fails(step: Script, code: ErrorCode, detail: str, transport: str) -> None:
    """Each fault is a transient TransportError that names endpoint, operation and fault, and the next request works."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.script("x", step, Reply(body=b"fine"))
        error = await failure_of(http)

        assert (error.endpoint, error.operation, error.status, error.attempts) == (upstream.url, "fetch", None, 1)
        assert (error.fault.code, error.fault.detail) == (code, detail)
        assert error.fault.worth_repeating
        assert (await http.request("GET", "x", operation="fetch")).body == b"fine"


@pytest.mark.parametrize("step", [Hang(), Slow(Reply(body=b"0123456789" * 9), 0.05), Reply(delay_seconds=4.0)])
async def test_the_deadline_holds_for_the_whole_answer(step: Script, transport: str) -> None:
    """An upstream that hangs, dawdles or drips bytes has no more time than the call."""
    async with open_upstream() as upstream, http_to(upstream.url, transport, timeout_seconds=0.2) as http:
        upstream.script("x", step, Reply(body=b"fine"))
        started = trio.current_time()
        error = await failure_of(http)

        assert trio.current_time() - started < 2.0
        assert (error.fault.code, error.fault.detail) == (ErrorCode.NODE_UNREACHABLE, "no answer in time: 0.2 s")
        assert (await http.request("GET", "x", operation="fetch")).body == b"fine"


async def test_a_body_of_exactly_the_limit_is_read(transport: str) -> None:
    """The bound is a bound, not a byte less."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.script("x", Reply(body=b"x" * 10_000))

        assert len((await http.request("GET", "x", operation="x")).body) == 10_000


async def test_nobody_listens(transport: str) -> None:
    """A refused connection is told as such."""
    async with http_to(f"http://127.0.0.1:{closed_port()}", transport) as http:
        error = await failure_of(http)

    assert (error.fault.code, error.fault.detail) == (ErrorCode.NODE_UNREACHABLE, "no connection: ECONNREFUSED")


async def test_a_name_that_cannot_be_looked_up(transport: str) -> None:
    """A label that is no encoded one, whatever its prefix says, is a host that nobody finds, and no crash."""
    async with http_to("http://xn--a/", transport) as http:
        error = await failure_of(http)

    assert error.fault.code is ErrorCode.NODE_UNREACHABLE


async def test_a_server_without_tls_is_not_spoken_to_in_clear(transport: str) -> None:
    """An https endpoint that does not speak TLS is a permanent fault with OpenSSL's own name for it."""
    async with open_upstream() as upstream, http_to(upstream.url.replace("http:", "https:"), transport) as http:
        error = await failure_of(http)

    assert not error.fault.worth_repeating
    assert error.fault.detail.startswith("the TLS handshake failed: ")
    assert upstream.requests == []


async def test_a_cancelled_request_stays_cancelled_and_harms_no_other(transport: str) -> None:
    """Cancelled is not eaten, and the pool goes on."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http:
        upstream.script("x", Hang(), Reply(body=b"fine"))
        with trio.move_on_after(0.03) as scope:
            await http.request("GET", "x", operation="x")

        assert scope.cancelled_caught
        assert (await http.request("GET", "x", operation="x")).body == b"fine"


async def test_more_requests_than_connections_only_wait(transport: str) -> None:
    """The pool is bounded, and every request is answered."""
    async with open_upstream() as upstream, http_to(upstream.url, transport, timeout_seconds=30.0) as http:
        upstream.always("x", Reply(body=b"1", delay_seconds=0.01))
        answers: list[HttpAnswer] = []

        async def one() -> None:
            answers.append(await http.request("GET", "x", operation="x"))

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_CONNECTIONS + 10):
                nursery.start_soon(one)

        assert len(answers) == MAX_CONNECTIONS + 10
        assert upstream.connections <= MAX_CONNECTIONS


async def test_a_closed_client_fails_what_is_under_way(transport: str) -> None:
    """Closing does not leave anybody waiting, and nothing foreign escapes."""
    async with open_upstream() as upstream, http_to(upstream.url, transport) as http, trio.open_nursery() as nursery:
        upstream.script("x", Hang())
        errors: list[TransportError] = []

        async def one() -> None:
            errors.append(await failure_of(http))

        nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked(0.02)
        await http.aclose()

    assert [error.fault.code for error in errors] == [ErrorCode.NODE_UNREACHABLE]


async def test_a_closed_client_stays_closed() -> None:
    """It does not connect anew; httpx would."""
    async with open_upstream() as upstream, http_to(upstream.url, "trio") as http:
        await http.aclose()
        error = await failure_of(http)

    assert (error.fault.code, error.fault.detail) == (ErrorCode.NODE_UNREACHABLE, "no connection: closed")


# --- names and secrets ---


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8899", "http://127.0.0.1:8899"),
        (f"https://{SECRET}:x@rpc.example.com/{SECRET}?api-key={SECRET}#{SECRET}", "https://rpc.example.com"),
        ("HTTPS://RPC.example.com:8443/x", "https://rpc.example.com:8443"),
        ("http://[::1]:8899/", "http://[::1]:8899"),
    ],
)
def test_an_endpoint_is_named_without_secrets(url: str, name: str) -> None:
    """Scheme, host and port: nothing else of a URL is safe to show."""
    assert endpoint_name(url) == name


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f"ftp://x/{SECRET}",
        f"http://{SECRET}:pa:ss/x@host:port/",
        f"http:///{SECRET}",
        f"http://[{SECRET}/",
        f"http://host:{SECRET}",
        f"http://ho st/{SECRET}",
        f"http://a..b/{SECRET}",
        f"http://.a/{SECRET}",
        f"http://{'x' * 64}/{SECRET}",
        f"http://host/\x00{SECRET}",
        "",
    ],
)
def test_what_is_no_endpoint_is_refused_without_being_repeated(url: str) -> None:
    """A broken URL is a mistake of the configuration, and may hold a key."""
    with pytest.raises(ConfigError) as caught:
        Http(url, source=Source.NODE, timeout_seconds=1.0)

    assert all(SECRET not in "".join(traceback.format_exception(error)) for error in [caught.value])


@pytest.mark.parametrize("value", [f"{SECRET}\r\nx: y", f"{SECRET}é"])
def test_a_header_that_cannot_be_sent_is_refused_without_being_repeated(value: str) -> None:
    """A key with a line break in it is named by its header only."""
    with pytest.raises(ConfigError) as caught:
        Http("http://127.0.0.1:1", source=Source.JUPITER, timeout_seconds=1.0, headers={"x-api-key": value})

    assert "x-api-key" in str(caught.value)
    assert SECRET not in repr(caught.value)


async def test_user_info_of_a_url_becomes_basic_authentication(transport: str) -> None:
    """As every client does it; the host is asked without it."""
    async with open_upstream() as upstream:
        upstream.always("", Reply())
        async with http_to(upstream.url.replace("http://", "http://us%65r:p%40ss@"), transport) as http:
            await http.request("POST", operation="x", body=b"")

    assert upstream.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert "@" not in upstream.requests[0].headers["host"]


def secret_urls(upstream: Upstream) -> list[str]:
    """A key in every place of a URL where providers put one."""
    host = f"127.0.0.1:{upstream.port}"
    return [
        f"http://{host}/{SECRET}",
        f"http://{host}/?api-key={SECRET}",
        f"http://{host}/?{SECRET}",
        f"http://{SECRET}@{host}/",
        f"http://user:{SECRET}@{host}/",
    ]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    "step", [Reset(), Close(), Garbage(f"{SECRET}\r\n\r\n".encode()), Truncated(Reply(body=SECRET.encode() * 9), 3), Hang()]
)
async def test_no_failure_shows_a_key(place: int, step: Script, caplog: pytest.LogCaptureFixture, transport: str) -> None:
    """Neither text, repr nor traceback of an error, of its causes and of its hidden context holds it, nor any library's log."""
    caplog.set_level(logging.DEBUG)
    async with open_upstream() as upstream:
        for operation in (SECRET, ""):
            upstream.always(operation, step)
        async with http_to(secret_urls(upstream)[place], transport, timeout_seconds=0.05) as http:
            with pytest.raises(TransportError) as caught:
                await http.request("POST", operation="x", body=b"")

    shown = "".join(f"{error} {error!r} {error.args} {traceback.format_exception(error)}" for error in whole_chain(caught.value))
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, ForeignError)


def test_an_upstream_that_echoes_our_credentials_is_not_quoted() -> None:
    """Providers repeat keys in their errors, as they were or decoded; what is no key stays."""
    url = f"https://us%65rname:{SECRET}@rpc.example.com/v1/pathkey99/?api-key=queryk%65y&b=1"
    http = Http(url, source=Source.NODE, timeout_seconds=1.0, headers={"x-api-key": "headerkey"})
    text = f"{SECRET} username us%65rname pathkey99 queryk%65y querykey headerkey v1 b 1"

    shown = http.redacted(text).split()

    assert shown == [REDACTED] * 7 + ["v1", "b", "1"]
