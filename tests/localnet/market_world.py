"""The market on a bare LiteSVM, with a funded wallet that does what the Jupiter API tells it: no cluster, no HTTP."""

import base64
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTable, AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from executor.localnet import tokens
from executor.localnet.faults import Faults
from executor.localnet.http import HttpReply, HttpRequest
from executor.localnet.jupiter import JupiterApi
from executor.localnet.market import Market, worth
from executor.localnet.program import layout, swap_elf
from executor.localnet.tokens import TOKENS, Token
from executor.units import PACKET_BYTES

WALLET = Keypair.from_seed(bytes([7]) * 32)
PAYER = Keypair.from_seed(bytes([8]) * 32)
OWNER = WALLET.pubkey()
WALLET_USD = 3_000_000
LAST_VALID_BLOCK_HEIGHT = 431_000_150
NOW_NS = 1_790_520_286_691_638_663

Result = TransactionMetadata | FailedTransactionMetadata


class BareChain:
    """LiteSVM as the market and the API see a cluster; what a late asker sees can be kept."""

    def __init__(self, market: Market) -> None:
        self.svm = LiteSVM().with_mainnet_features()
        self.svm.add_program(layout.PROGRAM_ID, swap_elf())
        for address, account in market.genesis():
            self.svm.set_account(address, account)
        self.past: dict[Pubkey, Account] = {}

    def read(self, address: Pubkey, commitment: str, *, behind: int = 0) -> Account | None:
        """The account, or for a late asker what was kept of it."""
        assert commitment == "processed"
        return self.past[address] if behind and address in self.past else self.svm.get_account(address)

    def slot(self, commitment: str, *, behind: int = 0) -> int:
        """The one slot."""
        assert commitment == "processed"
        return self.svm.get_clock().slot - behind

    def latest_blockhash(self, commitment: str) -> tuple[Hash, int]:
        """The one blockhash that LiteSVM takes."""
        del commitment
        return self.svm.latest_blockhash(), LAST_VALID_BLOCK_HEIGHT

    def run(self, transaction: VersionedTransaction) -> Result:
        """Execute, then move on to another blockhash, so that equal transactions are not duplicates."""
        assert len(bytes(transaction)) <= PACKET_BYTES
        result = self.svm.send_transaction(transaction)
        self.svm.expire_blockhash()
        return result


class MarketWorld:
    """The market, its API and a rich wallet."""

    def __init__(self, *, api_key: str | None = None) -> None:
        self.market = Market(seed=1)
        self.chain = BareChain(self.market)
        self.faults = Faults()
        self.api = JupiterApi(
            market=self.market,
            chain=self.chain,
            faults=self.faults,
            rng=random.Random(5),  # noqa: S311 - reproducible
            now_ns=lambda: NOW_NS,
            api_key=api_key,
        )
        for key in (WALLET, PAYER):
            self.fund(key.pubkey())

    def fund(self, owner: Pubkey) -> None:
        """Give an owner a lot of everything, SOL as lamports."""
        amounts = {token.mint: worth(token, WALLET_USD) for token in TOKENS}
        self.put(self.market.wallet_accounts(owner, amounts))

    def put(self, accounts: Iterable[tuple[Pubkey, Account]]) -> None:
        """Write accounts."""
        for address, account in accounts:
            self.chain.svm.set_account(address, account)

    # ---- the API

    def get(self, path: str, **query: object) -> HttpReply:
        """Call with query parameters."""
        texts = {name: str(value) for name, value in query.items()}
        return self.api.answer(HttpRequest(method="GET", path=f"/swap/v1{path}", query=texts))

    def post(self, path: str, body: object) -> HttpReply:
        """Call with a JSON body."""
        headers = {"content-type": "application/json"}
        request = HttpRequest(method="POST", path=f"/swap/v1{path}", headers=headers, body=json.dumps(body).encode())
        return self.api.answer(request)

    def quote(self, token_in: Token, token_out: Token, amount: int, **parameters: object) -> Any:
        """A quote; it must be given."""
        mints = {"inputMint": token_in.mint, "outputMint": token_out.mint}
        return decoded(self.get("/quote", **mints, amount=amount, **parameters))

    def instructions(self, quote: object, **parameters: object) -> Any:
        """The instructions of a quote; they must be given."""
        body = {"userPublicKey": str(OWNER), "quoteResponse": quote, **parameters}
        return decoded(self.post("/swap-instructions", body))

    # ---- the chain

    def compile(self, answer: Any, *, payer: Pubkey = OWNER) -> MessageV0:
        """A swap-instructions answer as a message, over the lookup tables that it names."""
        cleanup = [answer["cleanupInstruction"]] if answer["cleanupInstruction"] else []
        listed = [*answer["computeBudgetInstructions"], *answer["setupInstructions"], answer["swapInstruction"], *cleanup]
        instructions = [instruction_of(value) for value in [*listed, *answer["otherInstructions"]]]
        tables = [self.table(Pubkey.from_string(text)) for text in answer["addressLookupTableAddresses"]]
        return MessageV0.try_compile(payer, instructions, tables, self.chain.svm.latest_blockhash())

    def table(self, address: Pubkey) -> AddressLookupTableAccount:
        """A lookup table, read from the chain."""
        account = self.chain.svm.get_account(address)
        assert account is not None
        return AddressLookupTableAccount(address, AddressLookupTable.deserialize(account.data).addresses)

    def run(self, message: Message | MessageV0, signers: Sequence[Keypair] = (WALLET,)) -> Result:
        """Sign and execute."""
        return self.chain.run(VersionedTransaction(message, list(signers)))

    def execute(self, answer: Any) -> TransactionMetadata:
        """Do what the answer says; it must succeed."""
        result = self.run(self.compile(answer))
        assert isinstance(result, TransactionMetadata), result
        return result

    def balance(self, token: Token, owner: Pubkey = OWNER) -> int:
        """What lies in the owner's associated account; 0 without one."""
        return self.amount_at(tokens.associated_address(owner, token))

    def amount_at(self, address: Pubkey) -> int:
        """What lies in a token account; 0 without one."""
        account = self.chain.svm.get_account(address)
        return tokens.token_amount(account) if account is not None and account.data else 0

    def lamports(self, owner: Pubkey = OWNER) -> int:
        """The owner's native SOL."""
        return self.chain.svm.get_balance(owner) or 0


def decoded(reply: HttpReply) -> Any:
    """The JSON of a reply that is no error."""
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def instruction_of(value: Any) -> Instruction:
    """Read an instruction of an answer."""
    metas = [AccountMeta(Pubkey.from_string(a["pubkey"]), a["isSigner"], a["isWritable"]) for a in value["accounts"]]
    return Instruction(Pubkey.from_string(value["programId"]), base64.b64decode(value["data"]), metas)
