"""The same bytes to every node, and again until they are confirmed or have expired.

Same bytes, same signature: at most one of them is executed, so sending to several nodes and sending again is safe. A node's OK
says nothing about landing, and a refusal does not say that it will not land: behind one URL a proxy may have asked twice, and a
machine that forwarded the bytes before another refused them is not heard. So no answer ends a trade; the chain does. What fails
every node's preflight is not sent again, though: that spares the wallet the fee of a swap that fails.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus

import trio

from executor.faults import Reaction, TransportError, after_send
from executor.log import Log
from executor.model import Signed
from executor.network.nodes import Nodes

_REFUSALS = frozenset({Reaction.REJECT, Reaction.REQUOTE, Reaction.REBUILD})


async def send(signed: Signed, *, nodes: Nodes, skip_preflight: bool, log: Log) -> TransportError | None:
    """Send to every node, once. Returns the first refusal if it failed every node's preflight; it may land all the same."""
    answers = await _send_round(signed, nodes=nodes, skip_preflight=skip_preflight, log=log, event="send.answered")
    refusals = [answer for answer in answers if isinstance(answer, TransportError) and _is_refusal(answer)]
    return refusals[0] if not skip_preflight and len(refusals) == len(answers) else None


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


def _is_refusal(error: TransportError) -> bool:
    """The node itself looked at these bytes and refused them, and would again. What no table knows is none."""
    return error.status == HTTPStatus.OK and after_send(error.fault).reaction in _REFUSALS
