"""Wait for the chain's word."""

from executor.chainstate.confirmations import Confirmations
from executor.errors import ErrorCode, Expired
from executor.model import Landed, Sent


async def monitor(sent: Sent, *, confirmations: Confirmations) -> Landed:
    """Wait, without a limit of its own, for the confirmation. Raises Expired when it is proved that there will be none."""
    signed = sent.signed
    landed = await confirmations.landed(
        signed.signature,
        blockhash=signed.blockhash,
        last_valid_block_height=signed.last_valid_block_height,
        context_slot=signed.context_slot,
    )
    if landed is None:
        raise Expired(
            ErrorCode.TRANSACTION_EXPIRED,
            f"the transaction expired: block height {signed.last_valid_block_height} has passed and no node knows it; "
            "nothing was swapped, no fee was paid",
            last_valid_block_height=signed.last_valid_block_height,
        )
    return landed
