"""The facts of every whitelisted mint, read from the chain: decimals, token program, rent of its token accounts."""

from collections.abc import Mapping
from typing import NoReturn

import trio
from attrs import define, field, frozen
from solders.pubkey import Pubkey

from executor.chainstate.accounts import read_accounts
from executor.chainstate.refresher import refresh_forever
from executor.config import TokenSettings
from executor.log import Log
from executor.model import Token
from executor.network.nodes import Nodes
from executor.network.solana import AccountInfo
from executor.programs import TOKEN_ACCOUNT_BYTES, TOKEN_PROGRAM, TOKEN_PROGRAMS
from executor.units import Lamports

MINT_BYTES = 82
RETRY_SECONDS = 1.0

# A Token-2022 mint's extension obliges its token accounts to carry one of their own; value: that extension's bytes
# (solana-program/token-2022, interface/src/extension/mod.rs, get_required_init_account_extensions).
_ACCOUNT_EXTENSION_BYTES: Mapping[int, int] = {
    1: 8,  # TransferFeeConfig -> TransferFeeAmount
    9: 0,  # NonTransferable -> NonTransferableAccount
    14: 1,  # TransferHook -> TransferHookAccount
    26: 0,  # Pausable -> PausableAccount
}
_EXTENSION_HEADER_BYTES = 4
_TYPE_OF_MINT = 1


@frozen
class MintFacts:
    """What a mint's account says."""

    decimals: int
    program: Pubkey
    account_bytes: int
    """Size of the token account that the associated token program creates."""


def parse_mint(account: AccountInfo | None) -> MintFacts | str:
    """Read a mint's account; a text says why it is none."""
    if account is None:
        return "does not exist on this cluster"
    if account.owner not in TOKEN_PROGRAMS or not _has_form_of_mint(account.data):
        return "is not a mint of the Token or Token-2022 program"
    if account.data[45] != 1:
        return "is not initialised"
    return MintFacts(account.data[44], account.owner, _account_bytes(account))


def _has_form_of_mint(data: bytes) -> bool:
    """82 bytes; with extensions (Token-2022) as long as a token account, and then the type that tells the two apart."""
    return len(data) == MINT_BYTES or (len(data) > TOKEN_ACCOUNT_BYTES and data[TOKEN_ACCOUNT_BYTES] == _TYPE_OF_MINT)


def _account_bytes(account: AccountInfo) -> int:
    if account.owner == TOKEN_PROGRAM:
        return TOKEN_ACCOUNT_BYTES
    # One byte of account type, then ImmutableOwner, which the associated token program always asks for.
    size = TOKEN_ACCOUNT_BYTES + 1 + _EXTENSION_HEADER_BYTES
    for kind in _extension_kinds(account.data):
        if kind in _ACCOUNT_EXTENSION_BYTES:
            size += _EXTENSION_HEADER_BYTES + _ACCOUNT_EXTENSION_BYTES[kind]
    return size


def _extension_kinds(data: bytes) -> list[int]:
    """The types of a Token-2022 mint's extensions: after 166 bytes, u16 type, u16 length, value; type 0 ends the list."""
    kinds, at = [], TOKEN_ACCOUNT_BYTES + 1
    while at + _EXTENSION_HEADER_BYTES <= len(data):
        kind = int.from_bytes(data[at : at + 2], "little")
        if kind == 0:
            break
        kinds.append(kind)
        at += _EXTENSION_HEADER_BYTES + int.from_bytes(data[at + 2 : at + 4], "little")
    return kinds


@define(kw_only=True, eq=False)
class Mints:
    """Tokens by mint. Decimals and programs never change, so each is read once; unread ones are tried again every second."""

    nodes: Nodes
    whitelist: Mapping[Pubkey, TokenSettings]
    log: Log
    _tokens: dict[Pubkey, Token] = field(factory=dict)
    _problems: dict[Pubkey, str] = field(factory=dict)
    loaded: trio.Event = field(factory=trio.Event)

    async def run(self) -> NoReturn:
        """Read what is missing, until cancelled."""
        await refresh_forever(self.refresh, every_seconds=RETRY_SECONDS, name="mints", log=self.log)

    async def refresh(self) -> None:
        """Read the mints that are still unknown. Raises TransportError."""
        missing = [mint for mint in self.whitelist if mint not in self._tokens]
        if missing:
            accounts = await read_accounts(missing, nodes=self.nodes)
            for mint, account in zip(missing, accounts, strict=True):
                await self._learn(mint, account)
        self.loaded.set()

    def get(self, mint: Pubkey) -> Token | None:
        """The token, once it has been read."""
        return self._tokens.get(mint)

    def problem(self, mint: Pubkey) -> str:
        """Why a whitelisted mint is not known yet."""
        return self._problems.get(mint, "was not read from any node yet")

    def known(self) -> tuple[Token, ...]:
        """Every token that was read, in the whitelist's order."""
        return tuple(self._tokens[mint] for mint in self.whitelist if mint in self._tokens)

    def missing(self) -> tuple[str, ...]:
        """What keeps whitelisted tokens from being traded, each with its symbol."""
        return tuple(f"{t.symbol} {self.problem(m)}" for m, t in self.whitelist.items() if m not in self._tokens)

    async def _learn(self, mint: Pubkey, account: AccountInfo | None) -> None:
        facts = parse_mint(account)
        if isinstance(facts, str):
            self._warn_once(mint, facts)
            return
        size = facts.account_bytes
        rent = await self.nodes.ask(lambda node: node.minimum_balance(size), operation="getMinimumBalanceForRentExemption")
        self._tokens[mint] = Token(
            mint=mint,
            symbol=self.whitelist[mint].symbol,
            decimals=facts.decimals,
            program=facts.program,
            account_rent_lamports=Lamports(rent),
        )

    def _warn_once(self, mint: Pubkey, problem: str) -> None:
        if self._problems.get(mint) != problem:
            self._problems[mint] = problem
            self.log.warning("mint.unusable", mint=str(mint), problem=problem)
