"""The same bytes to every node; and which answers are refusals of them."""

import base64
import itertools
import json

import pytest
import trio
import trio.testing

from executor.errors import ErrorCode
from executor.faults import JsonValue, TransportError
from executor.network.nodes import Nodes
from executor.network.solana import Node
from executor.stages.sending import send, send_again
from tests.support.chain import FakeNode, fake_nodes, open_nodes
from tests.support.clients import QUICK, seeded
from tests.support.events import RecordedLog
from tests.support.swaps import JUPITER, make_swap
from tests.support.upstream import (
    Close,
    Garbage,
    Hang,
    Oversized,
    Reply,
    Reset,
    Script,
    Truncated,
    closed_port,
    json_reply,
    open_upstream,
    rpc_error,
    rpc_result,
    rpc_wrong_id,
)
from tests.support.values import make_signed, make_simulated, signature_of

SIGNED = make_signed(make_simulated(make_swap()))
ACCEPTED = rpc_result(str(SIGNED.signature))


def preflight(error: JsonValue, *logs: str) -> Reply:
    """A failed preflight."""
    message = "Transaction simulation failed"
    return rpc_error(-32002, message, {"err": error, "logs": list(logs), "unitsConsumed": 0, "accounts": None})


def custom(number: int, program: str) -> Reply:
    """A preflight in which a program refused."""
    return preflight({"InstructionError": [4, {"Custom": number}]}, f"Program {program} failed: custom program error")


def of_call(reply: Reply, call_id: object, *, status: int = 200) -> Reply:
    """The same answer as if to another call; None: to one that could not be read."""
    return json_reply({**json.loads(reply.body), "id": call_id}, status)


REFUSING: dict[str, tuple[Script, ErrorCode]] = {
    "slippage": (custom(6001, str(JUPITER)), ErrorCode.SLIPPAGE_EXCEEDED),
    "no funds, says Jupiter": (custom(6024, str(JUPITER)), ErrorCode.FUNDS_INSUFFICIENT),
    "a pool refuses": (custom(1, "9" * 44), ErrorCode.SIMULATION_FAILED),
    "no funds for the fee": (preflight("InsufficientFundsForFee"), ErrorCode.FUNDS_INSUFFICIENT),
    "compute used up": (preflight({"InstructionError": [4, "ComputationalBudgetExceeded"]}), ErrorCode.SIMULATION_FAILED),
    "a wrong signature": (rpc_error(-32003, "Transaction signature verification failure"), ErrorCode.INTERNAL_ERROR),
    "malformed": (rpc_error(-32602, "invalid transaction"), ErrorCode.NODE_REFUSED),
    "too large": (rpc_error(-32602, "base64 encoded too large: 1648 bytes (max: 1644)"), ErrorCode.TRANSACTION_TOO_LARGE),
    "no such method": (rpc_error(-32601, "Method not found"), ErrorCode.NODE_REFUSED),
    "unreadable, so without an id": (of_call(rpc_error(-32700, "Parse error"), None), ErrorCode.NODE_REFUSED),
    "no request, so without an id": (of_call(rpc_error(-32600, "Invalid request"), None), ErrorCode.NODE_REFUSED),
}
"""What a node answers that looked at the bytes and went no further."""

NOT_REFUSING: dict[str, Script] = {
    "accepted": ACCEPTED,
    "accepted, says it, something else": rpc_result(str(signature_of(5))),
    "already processed": preflight("AlreadyProcessed"),
    "blockhash not found: it lags": preflight("BlockhashNotFound"),
    "an account is in use": preflight("AccountInUse"),
    "the block is full": preflight("WouldExceedMaxBlockCostLimit"),
    "an error that no table knows": preflight("SomethingNew"),
    "a custom error without logs": preflight({"InstructionError": [4, {"Custom": 6001}]}),
    "a preflight that failed somehow": rpc_error(-32002, "Transaction simulation failed"),
    "unhealthy": rpc_error(-32005, "Node is behind by 42 slots"),
    "internal error": rpc_error(-32603, "Internal error"),
    "rate limited by the provider": rpc_error(-32429, "Too many requests"),
    "behind our slot": rpc_error(-32016, "Minimum context slot has not been reached"),
    "an unknown code": rpc_error(-31999, "?"),
    "a refusal without an id": of_call(rpc_error(-32602, "invalid transaction"), None),
    "a failed preflight without an id": of_call(custom(6001, str(JUPITER)), None),
    "a refusal of another call": of_call(rpc_error(-32602, "invalid transaction"), "another"),
    "a failed preflight of another call": of_call(custom(6001, str(JUPITER)), 2),
    "an unread request of another call": of_call(rpc_error(-32600, "Invalid request"), 2),
    "HTTP 400 with a refusal of another call": of_call(rpc_error(-32602, "invalid transaction"), 2, status=400),
    "no key": Reply(401),
    "no permission": Reply(403),
    "nothing there": Reply(404),
    "HTTP 408": Reply(408),
    "too large for the proxy": Reply(413),
    "HTTP 418": Reply(418),
    "HTTP 429": Reply(429),
    "HTTP 500": Reply(500),
    "HTTP 502": Reply(502),
    "HTTP 503": Reply(503),
    "HTTP 504": Reply(504),
    "HTTP 599": Reply(599),
    "silence": Hang(),
    "a reset": Reset(),
    "a close": Close(),
    "half an answer": Truncated(ACCEPTED, 20),
    "an endless answer": Oversized(),
    "no HTTP": Garbage(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no JSON": Reply(body=b"<html>"),
    "nothing": json_reply({}),
    "the answer to another call": rpc_wrong_id(str(SIGNED.signature)),
}
"""After these it is sent again."""


async def send_to(*steps: Script, skip_preflight: bool = False) -> tuple[RecordedLog, TransportError | None]:
    """Send to nodes that answer like that; return the log, and the refusal if all refuse."""
    log = RecordedLog()
    async with open_nodes(len(steps), timeout_seconds=0.1) as (nodes, upstreams):
        for upstream, step in zip(upstreams, steps, strict=True):
            upstream.script("sendTransaction", step)
        refusal = await send(SIGNED, nodes=nodes, skip_preflight=skip_preflight, log=log)
    return log, refusal


@pytest.mark.parametrize("name", REFUSING)
async def test_what_is_a_refusal(name: str) -> None:
    """From the only node, and from both of two: told with that answer's code and the node's name, and nothing is raised."""
    step, code = REFUSING[name]
    for count in (1, 2):
        _log, refusal = await send_to(*[step] * count)

        assert refusal is not None
        assert refusal.fault.code is code
        assert str(refusal).startswith("http://127.0.0.1:")


@pytest.mark.parametrize("name", REFUSING)
async def test_without_preflight_nobody_refuses(name: str) -> None:
    """What did not look at the state of the chain may be another machine's mood: the bytes are sent again."""
    _log, refusal = await send_to(REFUSING[name][0], skip_preflight=True)

    assert refusal is None


@pytest.mark.parametrize("name", NOT_REFUSING)
async def test_what_is_none(name: str) -> None:
    """Also when it is the only answer, and when all others refuse."""
    refusing = rpc_error(-32602, "invalid transaction")
    for steps in ([NOT_REFUSING[name]], [refusing, NOT_REFUSING[name]], [NOT_REFUSING[name], refusing]):
        log, refusal = await send_to(*steps)
        (answered,) = log.named("send.answered")

        assert refusal is None
        assert answered["accepted"] == (1 if name == "accepted" else 0)


async def test_a_failure_of_tls_is_no_refusal() -> None:
    """It is permanent, so nobody would try again; but it may come after the bytes, and then they are on their way."""
    async with open_upstream() as upstream:
        node = Node(upstream.url.replace("http:", "https:"), name="tls", timeout_seconds=5.0)
        nodes = Nodes([node], retry=QUICK, rng=seeded(), log=RecordedLog())
        log = RecordedLog()
        refusal = await send(SIGNED, nodes=nodes, skip_preflight=True, log=log)
        await nodes.aclose()

    assert refusal is None
    (answered,) = log.named("send.answered")
    assert "TLS" in str(answered["refusals"])


async def test_a_node_that_is_gone_refuses_nothing() -> None:
    """There was no connection; it may be back for the next send."""
    node = Node(f"http://127.0.0.1:{closed_port()}", name="gone", timeout_seconds=5.0)
    nodes = Nodes([node], retry=QUICK, rng=seeded(), log=RecordedLog())
    refusal = await send(SIGNED, nodes=nodes, skip_preflight=True, log=RecordedLog())
    await nodes.aclose()

    assert refusal is None


@pytest.mark.parametrize("skip_preflight", [True, False])
async def test_every_node_gets_the_same_bytes_once(skip_preflight: bool) -> None:
    """The signed ones, without the node's own resending; nothing is retried here."""
    async with open_nodes(3, timeout_seconds=0.1) as (nodes, upstreams):
        steps: list[Script] = [ACCEPTED, Reply(503), Hang()]
        for upstream, step in zip(upstreams, steps, strict=True):
            upstream.always("sendTransaction", step)
        await send(SIGNED, nodes=nodes, skip_preflight=skip_preflight, log=RecordedLog())

    for upstream in upstreams:
        (request,) = upstream.requests
        wire, options = request.json["params"]
        assert base64.b64decode(wire) == SIGNED.wire
        assert (options["skipPreflight"], options["maxRetries"]) == (skip_preflight, 0)


class Recorder(FakeNode):
    """A node that keeps what it is sent."""

    async def send(self, wire: bytes, *, skip_preflight: bool, min_context_slot: int | None = None) -> str:
        """Accept it."""
        await self._answer("sendTransaction", (wire, skip_preflight))
        return str(SIGNED.signature)


def never_passes() -> int:
    """The last height at which the transaction may land."""
    return SIGNED.last_valid_block_height


async def test_the_same_bytes_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    """To all nodes, at the configured interval, without preflight; a failing node is sent to again, and no answer ends it."""
    nodes, log = [Recorder("one"), Recorder("two")], RecordedLog()
    nodes[1].failing = True
    with trio.move_on_after(5) as scope:
        await send_again(SIGNED, nodes=fake_nodes(*nodes), every_seconds=2.0, block_height=never_passes, log=log)

    assert scope.cancelled_caught
    for node in nodes:
        sent = node.called("sendTransaction")
        assert [call.asked for call in sent] == [(SIGNED.wire, True)] * 3
        assert [later.at - earlier.at for earlier, later in itertools.pairwise(sent)] == [2.0, 2.0]
    rounds = log.named("send.repeated")
    assert [answered["accepted"] for answered in rounds] == [1, 1, 1]
    assert all(answered["refusals"] for answered in rounds)


async def test_what_no_block_can_take_is_not_sent_again(autojump_clock: trio.testing.MockClock) -> None:
    """It ends with the height: while the last valid one is not passed it sends, and one pause later at most it has stopped."""
    node, began = Recorder(), trio.current_time()
    last = SIGNED.last_valid_block_height

    def block_height() -> int:
        return last - 2 + round(trio.current_time() - began)  # a block a second

    with trio.fail_after(60):
        await send_again(SIGNED, nodes=fake_nodes(node), every_seconds=1.0, block_height=block_height, log=RecordedLog())

    heights = [last - 2 + round(call.at - began) for call in node.called("sendTransaction")]
    assert heights[:3] == [last - 2, last - 1, last]
    assert set(heights[3:]) <= {last + 1}
    assert block_height() == last + 1


async def test_what_has_expired_is_not_sent_at_all(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody waits for a round that nothing can come of."""
    node = Recorder()

    def block_height() -> int:
        return SIGNED.last_valid_block_height + 1

    await send_again(SIGNED, nodes=fake_nodes(node), every_seconds=1.0, block_height=block_height, log=RecordedLog())

    assert node.calls == []


async def test_an_unknown_height_is_no_reason_to_stop(autojump_clock: trio.testing.MockClock) -> None:
    """0 is what is told before the first blockhash: after a restart the bytes are sent while nobody knows the height."""
    node = Recorder()
    with trio.move_on_after(2.5):
        await send_again(SIGNED, nodes=fake_nodes(node), every_seconds=1.0, block_height=lambda: 0, log=RecordedLog())

    assert len(node.called("sendTransaction")) == 3


async def test_all_nodes_are_sent_to_at_the_same_time(autojump_clock: trio.testing.MockClock) -> None:
    """A slow one does not keep the others waiting for the bytes."""
    nodes = [Recorder("slow"), Recorder("quick")]
    nodes[0].takes_seconds = 5.0
    await send(SIGNED, nodes=fake_nodes(*nodes), skip_preflight=True, log=RecordedLog())

    assert nodes[0].calls[0].at == nodes[1].calls[0].at
