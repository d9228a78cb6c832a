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
    return Signed(
        simulated=simulated,
        message=message,
        signature=signature,
        wire=to_wire(message, signature),
        blockhash=blockhash.blockhash,
        last_valid_block_height=blockhash.last_valid_block_height,
    )
