"""The one place where the key touches a transaction."""

from solders.message import to_bytes_versioned

from executor.model import Signed, Simulated
from executor.network.solana import LatestBlockhash
from executor.stages.message import compile_message, to_wire
from executor.wallet.signer import Signer


def sign(simulated: Simulated, *, signer: Signer, blockhash: LatestBlockhash) -> Signed:
    """Sign what was verified and simulated, with the budget that the simulation decided. Raises Rejected."""
    message = compile_message(simulated.built, simulated.budget, payer=signer.address, blockhash=blockhash.blockhash)
    signature = signer.sign(to_bytes_versioned(message))
    quoted = simulated.built.quoted
    return Signed(
        order=quoted.order,
        signature=signature,
        message=message,
        wire=to_wire(message, signature),
        blockhash=blockhash.blockhash,
        last_valid_block_height=blockhash.last_valid_block_height,
        context_slot=blockhash.context_slot,
        budget=simulated.budget,
        priority_fee_lamports=simulated.priority_fee_lamports,
        reference_out_amount=quoted.reference_out_amount,
        quoted_out_amount=quoted.quote.out_amount,
        shared_accounts=simulated.built.shared_accounts,
    )
