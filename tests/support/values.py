"""Values of a trade, made for tests: one wallet, four tokens, and each value of the line with whatever a test wants changed."""

import hashlib
from typing import Any

from attrs import evolve
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from executor.model import (
    NATIVE_MINT,
    Built,
    ComputeBudget,
    Landed,
    Order,
    Quote,
    Quoted,
    Sent,
    Signed,
    Simulated,
    Token,
    TradeRequest,
    Urgency,
)
from executor.network.solana import LatestBlockhash
from executor.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from executor.stages.signing import sign
from executor.units import Bps, Lamports, MicroLamports, minimum_out
from executor.wallet.signer import KeypairSigner

KEYPAIR = Keypair.from_seed(bytes(range(32)))
STRANGER = str(Pubkey.from_bytes(bytes(range(32))))
"""An address at which nothing is."""
WALLET = KEYPAIR.pubkey()
TOKEN_ACCOUNT_RENT = Lamports(2_039_280)


def key(name: str) -> Pubkey:
    """An address that nobody else has."""
    return Pubkey.from_bytes(hashlib.sha256(name.encode()).digest())


def signature_of(number: int) -> Signature:
    """A signature that nobody else has."""
    return Signature.from_bytes(number.to_bytes(64, "big"))


def hash_of(number: int) -> Hash:
    """A blockhash that no other block has."""
    return Hash(number.to_bytes(32, "big"))


SOL = Token(mint=NATIVE_MINT, symbol="SOL", decimals=9, program=TOKEN_PROGRAM, account_rent_lamports=TOKEN_ACCOUNT_RENT)
USDC = Token(mint=key("USDC"), symbol="USDC", decimals=6, program=TOKEN_PROGRAM, account_rent_lamports=TOKEN_ACCOUNT_RENT)
BONK = Token(mint=key("BONK"), symbol="BONK", decimals=5, program=TOKEN_PROGRAM, account_rent_lamports=TOKEN_ACCOUNT_RENT)
TAXED = Token(
    mint=key("TAXED"), symbol="TAXED", decimals=9, program=TOKEN_2022_PROGRAM, account_rent_lamports=Lamports(2_157_600)
)
"""A Token-2022 mint with a transfer fee: its token accounts are larger."""


def make_request(**changes: Any) -> TradeRequest:
    """0.05 SOL for USDC."""
    asked: dict[str, Any] = {
        "request_id": "request-1",
        "source_service": "tests",
        "input_mint": str(SOL.mint),
        "output_mint": str(USDC.mint),
        "in_amount": 50_000_000,
        "max_slippage_bps": 50,
        "urgency": Urgency.NORMAL,
        "expected_price": 0.0,
    }
    return TradeRequest(**(asked | changes))


def make_order(source: Token = SOL, target: Token = USDC, **changes: Any) -> Order:
    """The order of `make_request`, or of other tokens."""
    in_amount = changes.get("in_amount", 50_000_000)
    request = make_request(
        request_id=changes.pop("request_id", "request-1"),
        input_mint=str(source.mint),
        output_mint=str(target.mint),
        in_amount=in_amount,
    )
    order = Order(
        request=request,
        received_at=0.0,
        received_unix_ns=1_790_000_000_000_000_000,
        input=source,
        output=target,
        in_amount=in_amount,
        max_slippage_bps=Bps(50),
        urgency=Urgency.NORMAL,
        expected_price=None,
        fee_account=None,
        tracking_account=None,
    )
    return evolve(order, **changes)


def make_quote(order: Order, out_amount: int = 6_096_091, **changes: Any) -> Quote:
    """What Jupiter offers for an order."""
    quote = Quote(
        input_mint=order.input.mint,
        output_mint=order.output.mint,
        in_amount=order.in_amount,
        out_amount=out_amount,
        other_amount_threshold=minimum_out(out_amount, order.max_slippage_bps),
        slippage_bps=order.max_slippage_bps,
        platform_fee_bps=0,
        context_slot=400,
        route=("Pool",),
        raw=b'{"any":"quote"}',
    )
    return evolve(quote, **changes)


def make_quoted(order: Order | None = None, **changes: Any) -> Quoted:
    """An order with its offer, which is what slippage is measured against."""
    order = order or make_order()
    quote = make_quote(order, **changes)
    return Quoted(
        order=order,
        quote=quote,
        reference_out_amount=quote.out_amount,
        minimum_out_amount=minimum_out(quote.out_amount, order.max_slippage_bps),
    )


def make_built(quoted: Quoted | None = None, **changes: Any) -> Built:
    """A transaction without instructions, for tests that do not look at them."""
    built = Built(
        quoted=quoted or make_quoted(), instructions=(), lookup_tables=(), shared_accounts=True, fee_price=MicroLamports(10_000)
    )
    return evolve(built, **changes)


def make_simulated(built: Built | None = None, **changes: Any) -> Simulated:
    """A transaction that the chain would accept."""
    built = built or make_built()
    simulated = Simulated(
        built=built,
        budget=ComputeBudget(unit_limit=100_000, unit_price=MicroLamports(25_000)),
        priority_fee_lamports=Lamports(2_500),
        units_consumed=80_000,
    )
    return evolve(simulated, **changes)


def make_signed(simulated: Simulated | None = None, *, blockhash: int = 1, last_valid_block_height: int = 1_150) -> Signed:
    """A transaction with a signature that is good."""
    latest = LatestBlockhash(
        blockhash=hash_of(blockhash), last_valid_block_height=last_valid_block_height, context_slot=last_valid_block_height
    )
    return sign(simulated or make_simulated(), signer=KeypairSigner(KEYPAIR), blockhash=latest)


def make_sent(signed: Signed | None = None, first_sent_at: float = 1.0) -> Sent:
    """A transaction that left the process."""
    return Sent(signed=signed or make_signed(), first_sent_at=first_sent_at)


LANDED = Landed(slot=500, reverted=False, confirmed_at=2.0)
