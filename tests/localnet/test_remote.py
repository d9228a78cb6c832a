"""The Jupiter API over another node's pools, and the relay in front of that node: here another localnet, or a scripted server."""

import base64
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.localnet import process
from executor.localnet.market import Market
from executor.localnet.remote import NodeUnusable, questions, read_sight, sent_signature, vaults
from executor.localnet.tokens import SOL, USDC, token_amount, transfer_lamports
from tests.localnet.test_server import COMMAND, PATIENCE_SECONDS, Answer, Running, call, fetch, started
from tests.support.upstream import Garbage, Reply, Reset, Upstream, closed_port, open_upstream, rpc_error, rpc_result

OWNER = Keypair.from_seed(b"\7" * 32)
SWAP = {"quoteResponse": None, "userPublicKey": str(OWNER.pubkey())}


@pytest.fixture(scope="module")
def chain() -> Iterator[Running]:
    """A localnet in which no slot passes by itself: the node that is read from."""
    with started("--slot-ms", "0", "--skip-rate", "0", "--no-trader", "--fund", str(OWNER.pubkey())) as running:
        yield running


@pytest.fixture(scope="module")
def shared_remote(chain: Running) -> Iterator[Running]:
    """The Jupiter API over its pools, with a relay; every look is a new one."""
    with started("--node", chain.nodes[0], "--relay", "--node-max-age-ms", "0") as running:
        yield running


@pytest.fixture
def remote(shared_remote: Running) -> Iterator[Running]:
    """The same, without faults."""
    yield shared_remote
    assert fetch(f"{shared_remote.admin}/faults", method="DELETE").status == 200


def transfer(chain: Running, lamports: int) -> VersionedTransaction:
    """A transaction of the owner's."""
    blockhash = Hash.from_string(chain.rpc("getLatestBlockhash", {"commitment": "processed"})["value"]["blockhash"])
    instruction = transfer_lamports(source=OWNER.pubkey(), destination=Pubkey(b"\x66" * 32), lamports=lamports)
    return VersionedTransaction(MessageV0.try_compile(OWNER.pubkey(), [instruction], [], blockhash), [OWNER])


def encoded(transaction: VersionedTransaction) -> str:
    """As it is sent."""
    return base64.b64encode(bytes(transaction)).decode()


def sent(node: str, transaction: VersionedTransaction) -> Answer:
    """Send it, unchecked."""
    return fetch(node, call("sendTransaction", encoded(transaction), {"encoding": "base64", "skipPreflight": True}))


# --- quotes -------------------------------------------------------------------------------------------------------------------


def test_quotes_are_those_of_the_nodes_own_pools(chain: Running, remote: Running) -> None:
    """To the unit, with the slot that the pools were read at; and the instructions take the node's blockhash."""
    ours, theirs = remote.quote().json, chain.quote().json
    assert {**ours, "timeTaken": 0} == {**theirs, "timeTaken": 0}
    body = {**SWAP, "quoteResponse": ours}
    built = fetch(f"{remote.jupiter}/swap-instructions", body).json
    blockhash = str(Hash(bytes(built["blockhashWithMetadata"]["blockhash"])))
    assert blockhash == chain.rpc("getLatestBlockhash", {"commitment": "confirmed"})["value"]["blockhash"]


def test_a_quote_follows_the_pools(chain: Running, remote: Running) -> None:
    """A swap on the chain moves the next quote, as soon as it is processed."""
    before = remote.quote().json
    swap = fetch(f"{chain.jupiter}/swap", {**SWAP, "quoteResponse": chain.quote().json}).json["swapTransaction"]
    message = VersionedTransaction.from_bytes(base64.b64decode(swap)).message
    sent(chain.nodes[0], VersionedTransaction(message, [OWNER]))
    chain.advance(1)
    after = remote.quote().json

    assert int(after["outAmount"]) < int(before["outAmount"])
    assert after["contextSlot"] > before["contextSlot"]


def test_a_bad_request_is_refused_as_ever(remote: Running) -> None:
    """By the same API."""
    answer = fetch(f"{remote.jupiter}/quote?inputMint={SOL.mint}&outputMint={SOL.mint}&amount=1")
    assert (answer.status, answer.json["errorCode"]) == (400, "CIRCULAR_ARBITRAGE_IS_DISABLED")


def test_faults_of_jupiter_can_be_ordered(remote: Running) -> None:
    """On the wire and in what it quotes."""
    before = int(remote.quote().json["outAmount"])
    remote.order("stale-quote", target="jupiter", bps=500)
    assert int(remote.quote().json["outAmount"]) == before * 10_500 // 10_000
    remote.order("status", target="jupiter", status=429)
    assert [remote.quote().status, remote.quote().status] == [429, 200]


# --- a node that does not answer as it should ---------------------------------------------------------------------------------


@contextmanager
def over(url: str, *flags: str) -> Iterator[Running]:
    """A Jupiter API over a node."""
    with started("--node", url, *flags) as running:
        yield running


async def quoted(remote: Running) -> Answer:
    """Ask for a quote while this thread serves the node."""
    return await trio.to_thread.run_sync(remote.quote)


def test_a_node_that_is_not_there_makes_jupiter_unavailable() -> None:
    """503 in the words of its gateway, without the node's address; what needs no node is answered."""
    port = closed_port()
    with over(f"http://127.0.0.1:{port}/?api-key=s3cret") as remote:
        answer = remote.quote()
        assert fetch(f"{remote.admin}/state").status == 200
        assert remote.addresses["nodes"] == []
    assert (answer.status, answer.json["code"]) == (503, 503)
    assert answer.json["message"].startswith("[API Gateway] Service unavailable: the node does not answer")
    assert "s3cret" not in answer.body.decode()
    assert str(port) not in answer.body.decode()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Reply(500, b"oops"), "status 500"),
        (Reply(200, b"<html>"), "something else"),
        (Reply(200, b"[]"), "something else"),
        (rpc_error(-32005, "Node is behind"), "Node is behind"),
        (rpc_result({"context": {"slot": 1}, "value": []}), "something else"),
        (Reset(), "does not answer"),
        (Garbage(b"SSH-2.0\r\n\r\n"), "does not answer"),
    ],
)
async def test_a_node_that_answers_wrongly_makes_jupiter_unavailable(step: Any, words: str) -> None:
    """With the reason, and a later good answer counts again."""
    addresses = vaults(Market(seed=1))
    good = rpc_result({"context": {"slot": 5}, "value": [None] * len(addresses)})
    async with open_upstream() as node:
        node.always("getLatestBlockhash", rpc_result({"value": {"blockhash": str(Hash.default()), "lastValidBlockHeight": 9}}))
        node.script("getMultipleAccounts", step, good)
        with over(node.url, "--node-max-age-ms", "10000") as remote:
            first, second = await quoted(remote), await quoted(remote)
    assert first.status == 503
    assert words in first.json["message"]
    assert (second.status, second.json["errorCode"]) == (400, "COULD_NOT_FIND_ANY_ROUTE")


async def test_what_was_read_serves_until_its_age() -> None:
    """Two quotes at a time need one look; the commitment is the one that was chosen."""
    async with open_upstream() as node:
        scripted(node)
        with over(node.url, "--node-max-age-ms", "10000", "--node-commitment", "confirmed") as remote:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(quoted, remote)
            (look,) = node.received("getMultipleAccounts")
        assert look.json["params"][1]["commitment"] == "confirmed"
        with over(node.url, "--node-max-age-ms", "0") as remote:
            await quoted(remote)
            await quoted(remote)
        assert len(node.received("getMultipleAccounts")) == 3


def scripted(node: Upstream) -> None:
    """A node that knows no pools."""
    node.always("getLatestBlockhash", rpc_result({"value": {"blockhash": str(Hash.default()), "lastValidBlockHeight": 9}}))
    value = [None] * len(vaults(Market(seed=1)))
    node.always("getMultipleAccounts", rpc_result({"context": {"slot": 5}, "value": value}))


# --- the relay ----------------------------------------------------------------------------------------------------------------


def test_the_relay_passes_calls_on(chain: Running, remote: Running) -> None:
    """Answers, refusals, batches, other paths and what is no call at all come from the node."""
    relay, node = remote.nodes[0], chain.nodes[0]
    for body in (
        call("getSlot"),
        call("getNothing"),
        [call("getSlot"), call("getHealth")],
        b"{",
        b"",
        {"jsonrpc": "2.0", "id": 1},
    ):
        through, direct = fetch(relay, body), fetch(node, body)
        assert (through.status, through.body) == (direct.status, direct.body)
    assert fetch(f"{relay}/health").body == b"ok"
    assert fetch(relay, b" " * (51 * 1024)).status == 413


def test_a_send_can_be_lost_on_the_way(chain: Running, remote: Running) -> None:
    """Answered with its signature, and the node never sees it; the same bytes land when they are sent again."""
    transaction = transfer(chain, 10_000_000)
    signature = str(transaction.signatures[0])
    remote.order("lost-send", target="node")
    assert sent(remote.nodes[0], transaction).json == {"jsonrpc": "2.0", "result": signature, "id": 1}
    chain.advance(3)
    assert chain.rpc("getSignatureStatuses", [signature])["value"] == [None]
    assert sent(remote.nodes[0], transaction).json["result"] == signature
    chain.advance(3)
    assert chain.rpc("getSignatureStatuses", [signature])["value"][0]["confirmationStatus"] == "confirmed"


def test_a_send_can_be_refused_though_it_was_passed_on(chain: Running, remote: Running) -> None:
    """As by a proxy that asked twice: the answer is the ordered error, and the transaction lands."""
    transaction = transfer(chain, 11_000_000)
    remote.order("rpc-error", target="node", operation="sendTransaction", code=-32602, message="invalid", executed=True)
    assert sent(remote.nodes[0], transaction).json["error"] == {"code": -32602, "message": "invalid"}
    chain.advance(3)
    assert chain.rpc("getSignatureStatuses", [str(transaction.signatures[0])])["value"][0]["confirmationStatus"] == "confirmed"


def test_what_has_no_signature_cannot_be_lost(remote: Running) -> None:
    """The node refuses it itself."""
    remote.order("lost-send", target="node")
    answer = fetch(remote.nodes[0], call("sendTransaction", "!!!", {"encoding": "base64"}))
    assert answer.json["error"]["code"] == -32602


def test_errors_and_faults_of_the_wire_strike_the_relay(remote: Running) -> None:
    """As they would a node of our own."""
    remote.order("rpc-error", target="node", operation="getSlot", code=-32005, message="behind")
    remote.order("status", target="node", operation="getHealth", status=503)
    assert fetch(remote.nodes[0], call("getSlot")).json["error"] == {"code": -32005, "message": "behind"}
    assert fetch(remote.nodes[0], call("getHealth")).status == 503
    assert fetch(remote.nodes[0], call("getHealth")).status == 200


@pytest.mark.parametrize("kind", ["lag", "late-landing", "dropped-block", "duplicate-landing"])
def test_what_only_a_chain_of_ours_can_do_is_refused(remote: Running, kind: str) -> None:
    """Rather than taken and not done."""
    order = {"target": "node", "count": 1, "fault": {"kind": kind}}
    answer = fetch(f"{remote.admin}/faults", order)
    assert answer.status == 400
    assert answer.json["problems"] == [f"{kind} cannot be ordered of a node that is not ours"]
    assert fetch(f"{remote.admin}/advance", {}).status == 404


def test_the_state_names_tokens_and_orders(remote: Running) -> None:
    """What the demo asks for."""
    remote.order("rpc-error", target="node", operation="getSlot", code=1)
    state = fetch(f"{remote.admin}/state").json
    assert (state["ordersInForce"], state["tokens"][1]["symbol"]) == (1, "USDC")


def test_a_relay_to_nowhere_is_a_bad_gateway() -> None:
    """As a proxy says it."""
    with over(f"http://127.0.0.1:{closed_port()}", "--relay") as remote:
        answer = fetch(remote.nodes[0], call("getSlot"))
    assert (answer.status, answer.body) == (502, b"the node does not answer (ClientConnectorError)")


# --- the process --------------------------------------------------------------------------------------------------------------


def test_signals_end_it_and_a_person_reads_the_addresses() -> None:
    """Exit code 0."""
    child = subprocess.Popen([*COMMAND, "--node", "http://127.0.0.1:1", "--relay"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline().split() for _ in range(3)]
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 0
    assert [name for name, _ in lines] == ["relay", "jupiter", "admin"]
    assert lines[2][1] == lines[0][1] + "/admin"


def test_a_taken_port_is_refused(chain: Running) -> None:
    """In a sentence."""
    port = chain.jupiter.rpartition(":")[2].partition("/")[0]
    command = [*COMMAND[:-2], "--jupiter-port", port, "--node", "http://127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--node", "localhost:8899"], "must be a URL"),
        (["--node", "http://"], "must be a URL"),
        (["--node", "http://x", "--node-max-age-ms", "10001"], "must lie between 0 and 10000"),
        (["--node", "http://x", "--node-commitment", "finalized"], "invalid choice"),
    ],
)
def test_wrong_flags_are_refused(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what they may be."""
    with pytest.raises(SystemExit) as ended:
        process.main(flags)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_relay_needs_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    """Our own nodes take orders themselves."""
    assert process.main(["--relay"]) == 2
    assert "--relay needs --node" in capsys.readouterr().err


# --- reading ------------------------------------------------------------------------------------------------------------------


def test_a_sight_is_a_chain_of_one_moment() -> None:
    """What was asked for, as it was answered."""
    mint = USDC.mint
    data = base64.b64encode(bytes(64) + (77).to_bytes(8, "little") + bytes(93)).decode()
    rows = [{"lamports": 1, "data": [data, "base64"], "owner": str(mint)}, None]
    accounts = json.dumps({"result": {"context": {"slot": 8}, "value": rows}}).encode()
    blockhash = json.dumps({"result": {"value": {"blockhash": str(Hash.default()), "lastValidBlockHeight": 9}}}).encode()
    sight = read_sight([mint, SOL.mint], accounts, blockhash)
    found = sight.read(mint, "processed")
    assert found is not None
    assert (token_amount(found), found.owner, sight.read(SOL.mint, "processed")) == (77, mint, None)
    assert (sight.slot("processed"), sight.latest_blockhash("confirmed")) == (8, (Hash.default(), 9))
    asked, newest = map(json.loads, questions([mint], "processed"))
    assert asked["params"] == [[str(mint)], {"encoding": "base64", "commitment": "processed"}]
    assert newest["params"] == [{"commitment": "confirmed"}]


@pytest.mark.parametrize("row", [{}, {"lamports": -1, "data": ["", "base64"], "owner": "x"}, 5, {"lamports": 1, "data": []}])
def test_an_account_that_is_none_is_refused(row: Any) -> None:
    """Whatever is wrong with it."""
    accounts = json.dumps({"result": {"context": {"slot": 8}, "value": [row]}}).encode()
    blockhash = json.dumps({"result": {"value": {"blockhash": str(Hash.default()), "lastValidBlockHeight": 9}}}).encode()
    with pytest.raises(NodeUnusable):
        read_sight([USDC.mint], accounts, blockhash)


@pytest.mark.parametrize("params", [(), (5,), ("!",), ("AAAA",), (None,)])
def test_a_signature_is_read_only_from_a_transaction(params: tuple[Any, ...]) -> None:
    """Otherwise there is none to answer with."""
    assert sent_signature(params) is None
