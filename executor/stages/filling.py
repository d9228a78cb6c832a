"""What a landed transaction really did, read from the chain.

The chain's own balances are the truth: what the wallet has more of the output. For a native SOL leg they are lamports, which
other programs may have touched too (rent of a foreign account), so there the swap program's own return value decides when it is
in the logs; it is net of platform fees (SOLANA.md 1.7). Events are not used: V2 events are gross.
"""

import base64

import trio
from attrs import frozen
from solders.pubkey import Pubkey

from executor.errors import ErrorCode
from executor.faults import Fault, TransportError, transaction_fault
from executor.log import Log
from executor.model import Fill, Landed, Sent, Signed, Token
from executor.network.nodes import Nodes
from executor.network.solana import ConfirmedTransaction
from executor.programs import JUPITER_PROGRAM
from executor.stages.changes import wallet_changes
from executor.units import LAMPORTS_PER_SIGNATURE, Lamports

RETURN_BYTES = 8
FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 1.0
FETCH_SECONDS = 10.0
"""Real nodes take up to a second or two from the status to the transaction."""


@frozen(kw_only=True)
class Sides:
    """Whose swap it was, and of what."""

    wallet: Pubkey
    input: Token
    output: Token


async def read_fill(sent: Sent, landed: Landed, *, nodes: Nodes, log: Log) -> Fill | None:
    """Fetch the transaction and read it. A node knows of it some time after its status, so this asks until one does.

    None: no node had it within FETCH_SECONDS, or what they had contradicts the status. Then neither is to be believed.
    """
    signed = sent.signed
    order = signed.order
    with trio.move_on_after(FETCH_SECONDS):
        transaction = await _fetch(signed, landed, nodes=nodes, log=log)
        return fill_of(transaction, sides=Sides(wallet=signed.wallet, input=order.input, output=order.output))
    return None


async def _fetch(signed: Signed, landed: Landed, *, nodes: Nodes, log: Log) -> ConfirmedTransaction:
    pause = FIRST_RETRY_SECONDS
    while True:
        try:
            found = await nodes.ask_once(lambda node: node.transaction(signed.signature), operation="getTransaction")
        except TransportError as error:
            log.warning("fill.unavailable", problem=str(error))
            found = None
        if found is not None and _is_ours(found, signed, landed):
            return found
        if found is not None:
            log.warning("fill.contradicts", slot=found.slot, error=found.error_text, status_slot=landed.slot)
        await trio.sleep(pause)
        pause = min(pause * 2, MAX_RETRY_SECONDS)


def _is_ours(transaction: ConfirmedTransaction, signed: Signed, landed: Landed) -> bool:
    """Whether it has our accounts, and ended as its status says."""
    keys = tuple(signed.message.account_keys)
    return transaction.account_keys[: len(keys)] == keys and (transaction.error is not None) == landed.reverted


def fill_of(transaction: ConfirmedTransaction, *, sides: Sides) -> Fill:
    """Read amounts, fees and rent. A failed transaction swapped nothing, whatever its logs say, but its fee is paid."""
    signatures_lamports = LAMPORTS_PER_SIGNATURE * transaction.signature_count
    changes = wallet_changes(transaction.balances, wallet=sides.wallet)
    fee = transaction.fee_lamports
    fault = None if transaction.error is None else transaction_fault(transaction.error, transaction.logs)
    swapped = fault is None
    return Fill(
        slot=transaction.slot,
        in_amount=-changes.of(sides.input.mint, fee_lamports=fee) if swapped else 0,
        out_amount=_out_amount(transaction, sides.output, changes.of(sides.output.mint, fee_lamports=fee)) if swapped else 0,
        fee_lamports=Lamports(fee),
        priority_fee_lamports=Lamports(fee - signatures_lamports),
        rent_lamports=changes.rent_lamports,
        units_consumed=transaction.units_consumed,
        error_code=None if fault is None else _reverted_code(fault),
        error_detail="" if fault is None else fault.detail,
    )


def _reverted_code(fault: Fault) -> ErrorCode:
    """On chain a missed minimum is worth its own code; everything else is a swap that reverted, with the detail."""
    return fault.code if fault.code is ErrorCode.SLIPPAGE_EXCEEDED else ErrorCode.SWAP_REVERTED


def _out_amount(transaction: ConfirmedTransaction, output: Token, measured: int) -> int:
    returned = returned_amount(transaction.logs)
    return returned if output.is_native and returned is not None else measured


def returned_amount(logs: tuple[str, ...]) -> int | None:
    """The last `Program return` of Jupiter's in the logs, a u64; None where the logs were cut short, or hold something else."""
    prefix = f"Program return: {JUPITER_PROGRAM} "
    for line in reversed(logs):
        if line.startswith(prefix):
            return _amount(line.removeprefix(prefix))
    return None


def _amount(text: str) -> int | None:
    try:
        returned = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return int.from_bytes(returned, "little") if len(returned) == RETURN_BYTES else None
