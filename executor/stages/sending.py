"""The same bytes to every node, and again until they are confirmed or have expired.

Same bytes, same signature: at most one of them is executed, so sending to several nodes and sending again is safe. A node's OK
says nothing about landing, and a node's failure proves nothing either, with one exception: a node that refused the bytes in its
preflight, or could not accept them at all, forwarded nothing. Only when every node did that, in the first round, is the trade
over without looking at the chain.
"""

from collections.abc import Callable, Sequence

import trio

from executor.errors import Rejected
from executor.faults import Reaction, TransportError, after_send
from executor.log import Log
from executor.model import Signed
from executor.network.nodes import Nodes

_REFUSALS = frozenset({Reaction.REJECT, Reaction.REQUOTE, Reaction.REBUILD})


async def send(signed: Signed, *, nodes: Nodes, skip_preflight: bool, log: Log) -> None:
    """Send to every node, once. Raises Rejected if their answers prove that none of them has forwarded anything."""
    _require_possible(await _send_round(signed, nodes=nodes, skip_preflight=skip_preflight, log=log, event="send.answered"))


async def send_again(signed: Signed, *, nodes: Nodes, every_seconds: float, block_height: Callable[[], int], log: Log) -> None:
    """Send the same bytes again and again, until cancelled, or no block can take them any more.

    Without preflight: it would only say that they are known already.
    """
    while block_height() <= signed.last_valid_block_height:
        await _send_round(signed, nodes=nodes, skip_preflight=True, log=log, event="send.repeated")
        await trio.sleep(every_seconds)


async def _send_round(
    signed: Signed, *, nodes: Nodes, skip_preflight: bool, log: Log, event: str
) -> Sequence[str | TransportError]:
    answers = await nodes.every(lambda node: node.send(signed.wire, skip_preflight=skip_preflight))
    refusals = [answer for answer in answers if isinstance(answer, TransportError)]
    log.info(event, accepted=len(answers) - len(refusals), refusals=[str(refusal) for refusal in refusals])
    return answers


def _require_possible(answers: Sequence[str | TransportError]) -> None:
    refusals = [answer for answer in answers if isinstance(answer, TransportError) and _is_refusal(answer)]
    if len(refusals) == len(answers):
        first = refusals[0]
        raise Rejected(first.fault.code, f"every node refused the transaction: {first}", endpoint=first.endpoint)


def _is_refusal(error: TransportError) -> bool:
    """The node looked at these bytes and refused them. Without an answer nothing is proved, nor by what no table knows."""
    # A failure of TLS is permanent, but may come when the bytes are long there.
    return error.status is not None and after_send(error.fault).reaction in _REFUSALS
