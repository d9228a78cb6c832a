"""Upstreams that are dead, or lie, or repeat what they were asked: a typed error that names the endpoint, and never a key.

Credentials stand wherever people put them: in a URL's user, password, path and query, in a header, in the wallet's file. The
upstreams send back every one that they got. Afterwards all that the daemon and the commands have said is searched for them.
"""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen
from google.protobuf import text_format
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.support.callers import make_request
from tests.support.daemon import in_thread
from tests.support.localnet import Localnet
from tests.support.processes import DaemonProcess, daemon_process, run_executor
from tests.support.relays import NODE_OPERATIONS, relay_jupiter, relay_node
from tests.support.settings import Place
from tests.support.upstream import (
    Close,
    Garbage,
    Received,
    Reply,
    Reset,
    Script,
    Truncated,
    Upstream,
    json_reply,
    open_upstream,
    rpc_error,
)

pytestmark = pytest.mark.slow

FAILED, PENDING, SUCCESS = pb.TRADE_STATUS_FAILED, pb.TRADE_STATUS_PENDING, pb.TRADE_STATUS_SUCCESS
HEADER_KEY = "jup-5f3a1c77-header-key"
USER, PASSWORD = "strategy-user", "pass-word-4471"
JUPITER_QUERY_KEY = "jq-19ab77-query"
PATH_KEY = "pk-88d1e2f3a4b5c6d7"
NODE_QUERY_KEY = "nq-77aa-0011-query"
STRANGER = str(Keypair().pubkey())


def _secrets(wallet: Keypair) -> list[str]:
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    numbers = json.dumps(list(bytes(wallet)[:8]))[1:-1]
    keys = [HEADER_KEY, USER, PASSWORD, JUPITER_QUERY_KEY, PATH_KEY, NODE_QUERY_KEY, basic]
    return [*keys, str(wallet), bytes(wallet)[:32].hex(), numbers, numbers.replace(" ", "")]


def _echo(received: Received) -> str:
    """All that came in, as a chatty upstream would repeat it."""
    return f"{received.target} {json.dumps(dict(received.headers))} {received.body.decode()[:200]}"


def _echoed_error(received: Received) -> Reply:
    return json_reply({"error": f"cannot serve {_echo(received)}", "errorCode": "NO_ROUTES_FOUND"}, 400)


def _echoed_text(received: Received) -> Reply:
    return Reply(200, _echo(received).encode())


def _echoed_rpc_error(received: Received) -> Reply:
    return rpc_error(-32602, f"invalid: {_echo(received)}", {"err": _echo(received)})


@frozen(kw_only=True)
class Upstreams:
    """Scripted servers in front of a localnet: Jupiter, the preferred node and another one."""

    jupiter: Upstream
    node: Upstream
    other: Upstream

    def place(self, folder: Path) -> Place:
        """URLs with credentials in every part."""
        return Place(
            folder=folder,
            nodes=(f"{self.node.url}/{PATH_KEY}/", f"{self.other.url}/?api-key=${{NODE_KEY}}"),
            jupiter=f"http://{USER}:{PASSWORD}@127.0.0.1:{self.jupiter.port}/swap/v1?token={JUPITER_QUERY_KEY}",
        )

    def everyone_answers(self, operation: str, step: Script) -> None:
        """Let both nodes answer so from now on."""
        self.node.always(operation, step)
        self.other.always(operation, step)


ENVIRONMENT = {"JUPITER_KEY": HEADER_KEY, "NODE_KEY": NODE_QUERY_KEY}
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "retry": {"max_retries": 0},
    "jupiter": {"api_key_env": "JUPITER_KEY"},
    "solana": {"skip_preflight": False},
    "confirmation": {"timeout_seconds": 2.0},
}


@asynccontextmanager
async def open_upstreams(chain: Localnet) -> AsyncIterator[Upstreams]:
    """Serve honest relays; tests make them lie."""
    async with open_upstream() as jupiter, open_upstream() as node, open_upstream() as other:
        relay_jupiter(jupiter, chain.jupiter)
        relay_node(node, chain.nodes[0])
        relay_node(other, chain.nodes[1])
        yield Upstreams(jupiter=jupiter, node=node, other=other)


async def _trade(daemon: DaemonProcess, request_id: str) -> pb.TradeResult:
    return await in_thread(lambda: daemon.caller.execute(make_request(request_id, "SOL", "USDC", 0.1)))


def _double(quote: Any) -> Any:
    return {**quote, "outAmount": str(int(quote["outAmount"]) * 2)}


def _pay_someone_else(answer: Any) -> Any:
    answer["swapInstruction"]["accounts"][6]["pubkey"] = STRANGER
    return answer


async def test_lying_upstreams_get_typed_errors_and_no_key_gets_out(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """Each lie is answered by its code and the endpoint's name; the honest trades before and after are unharmed."""
    truncated = Truncated(json_reply({"inputMint": "So11111111111111111111111111111111111111112"}), 20)
    cases: list[tuple[str, Script, str]] = [
        ("quote", _echoed_error, "ROUTE_NOT_FOUND"),
        ("quote", _echoed_text, "JUPITER_ANSWER_INVALID"),
        ("quote", lambda received: json_reply({"message": _echo(received)}, 401), "JUPITER_UNAUTHORIZED"),
        ("quote", truncated, "JUPITER_ANSWER_INVALID"),
        ("quote", Garbage(b"SSH-2.0-OpenSSH\r\n\r\n"), "JUPITER_ANSWER_INVALID"),
        ("quote", Reset(), "JUPITER_UNREACHABLE"),
        ("quote", Close(), "JUPITER_UNREACHABLE"),
        ("swap-instructions", lambda received: json_reply({_echo(received): 1}), "JUPITER_ANSWER_INVALID"),
        ("swap-instructions", lambda received: Reply(200, b'{"swapInstruction": null}'), "JUPITER_ANSWER_INVALID"),
    ]
    async with open_upstreams(chain) as upstreams:
        place = upstreams.place(tmp_path)
        async with in_daemon(place, wallet) as daemon:
            said: list[str] = []
            for number, (operation, step, code) in enumerate(cases):
                upstreams.jupiter.script(operation, step)
                result = await _trade(daemon, f"lie-{number}")
                said.append(text_format.MessageToString(result))
                assert (result.status, result.error_code) == (FAILED, code), result
                assert f"http://127.0.0.1:{upstreams.jupiter.port}: {operation} failed" in result.error_message
                assert not result.transaction_signature
            relay_jupiter(upstreams.jupiter, chain.jupiter, quote=_double)
            said.append(text_format.MessageToString(doubled := await _trade(daemon, "doubled")))
            relay_jupiter(upstreams.jupiter, chain.jupiter, swap_instructions=_pay_someone_else)
            said.append(text_format.MessageToString(stolen := await _trade(daemon, "stolen")))
            relay_jupiter(upstreams.jupiter, chain.jupiter)
            honest = await _trade(daemon, "honest")
            said += await _everything_said(daemon, place)

    assert (doubled.status, doubled.error_code) == (FAILED, "JUPITER_ANSWER_INVALID")
    assert "otherAmountThreshold" in doubled.error_message
    assert (stolen.status, stolen.error_code, stolen.error_stage) == (FAILED, "TRANSACTION_FOREIGN", "verify")
    assert honest.status == SUCCESS
    assert upstreams.jupiter.received("quote")[0].headers["x-api-key"] == HEADER_KEY
    assert JUPITER_QUERY_KEY in upstreams.jupiter.received("quote")[0].target
    assert [secret for secret in _secrets(wallet) if secret in "\n".join(said)] == []


async def test_nodes_that_repeat_what_they_got_do_not_get_a_key_out(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """Refusals of nodes, before the send and of the send itself, name the node and what it refused, without its key."""
    async with open_upstreams(chain) as upstreams:
        place = upstreams.place(tmp_path)
        async with in_daemon(place, wallet) as daemon:
            upstreams.everyone_answers("simulateTransaction", _echoed_rpc_error)
            unsimulated = await _trade(daemon, "unsimulated")
            relay_node(upstreams.node, chain.nodes[0], simulateTransaction=_without_balances)
            relay_node(upstreams.other, chain.nodes[1], simulateTransaction=_without_balances)
            blind = await _trade(daemon, "blind")
            relay_node(upstreams.node, chain.nodes[0])
            relay_node(upstreams.other, chain.nodes[1])
            upstreams.everyone_answers("sendTransaction", _echoed_rpc_error)
            unsent = await _trade(daemon, "unsent")
            relay_node(upstreams.node, chain.nodes[0], sendTransaction=_another_signature)
            relay_node(upstreams.other, chain.nodes[1])
            honest = await _trade(daemon, "honest")
            for operation in NODE_OPERATIONS:
                upstreams.everyone_answers(operation, _echoed_text)
            await trio.sleep(0.25)  # the background asks, too
            said = [text_format.MessageToString(result) for result in (unsimulated, blind, unsent, honest)]
            said += await _everything_said(daemon, place)

    assert (unsimulated.error_code, unsimulated.error_stage) == ("NODE_REFUSED", "simulate")
    assert (blind.error_code, blind.error_stage) == ("NODE_ANSWER_INVALID", "simulate")
    assert (unsent.status, unsent.error_code) == (PENDING, "CONFIRMATION_TIMEOUT")
    assert f"http://127.0.0.1:{upstreams.node.port}: " in unsimulated.error_message
    assert f"http://127.0.0.1:{upstreams.node.port}: " in unsent.error_message
    assert honest.status == SUCCESS
    assert upstreams.node.requests[0].target == f"/{PATH_KEY}/"
    assert NODE_QUERY_KEY in upstreams.other.requests[0].target
    assert [secret for secret in _secrets(wallet) if secret in "\n".join(said)] == []


def _without_balances(answer: Any) -> Any:
    """A node that tells what an old one does: nothing of balances."""
    value = answer["result"]["value"]
    balances = {"preBalances", "postBalances", "preTokenBalances", "postTokenBalances", "loadedAddresses", "fee"}
    answer["result"]["value"] = {name: item for name, item in value.items() if name not in balances}
    return answer


def _another_signature(answer: Any) -> Any:
    return {**answer, "result": str(Keypair().sign_message(b"another"))}


@asynccontextmanager
async def in_daemon(place: Place, wallet: Keypair) -> AsyncIterator[DaemonProcess]:
    """A daemon process beside this trio run, whose relays it needs to start: so it is started in a thread."""
    context = daemon_process(place, wallet, environment=ENVIRONMENT, trading=True, **SETTINGS)
    daemon = await in_thread(context.__enter__)
    try:
        yield daemon
    finally:
        with trio.CancelScope(shield=True):
            await in_thread(lambda: context.__exit__(None, None, None))


async def _everything_said(daemon: DaemonProcess, place: Place) -> list[str]:
    """The status, the log, and what the commands say of the same configuration."""
    config = str(place.folder / "config.toml")
    status = await in_thread(daemon.caller.status)
    checked = await in_thread(lambda: run_executor("check", "--config", config, environment=ENVIRONMENT))
    shown = await in_thread(lambda: run_executor("status", "--address", daemon.address, "--json"))
    assert checked.stdout
    assert shown.stdout
    return [text_format.MessageToString(status), daemon.log_path.read_text(), *_both(checked), *_both(shown)]


def _both(completed: Any) -> list[str]:
    return [completed.stdout, completed.stderr]


async def test_a_config_mistake_shows_no_credential(chain: Localnet, wallet: Keypair, tmp_path: Path) -> None:
    """A URL that cannot be used, a key that was pasted in place of a path or of a variable's name: named by line, unseen."""
    place = Place(folder=tmp_path, nodes=(f"htp://host/{PATH_KEY}",), jupiter=f"https://{USER}:{PASSWORD}@ho st/{PATH_KEY}")
    place.write_wallet(wallet)
    config = tmp_path / "config.toml"
    config.write_text(
        place.config_text(
            jupiter={"api_key_env": HEADER_KEY}, wallet={"keypair_path": str(wallet)}, daemon={"log_level": "chatty"}
        )
    )
    completed = await in_thread(lambda: run_executor("serve", "--config", str(config)))

    assert completed.returncode == 2
    for key in ("jupiter.url", "jupiter.api_key_env", "wallet.keypair_path", "solana.nodes[1].url", "daemon.log_level"):
        assert f" {key}: " in completed.stderr
    assert [secret for secret in _secrets(wallet) if secret in completed.stdout + completed.stderr] == []
