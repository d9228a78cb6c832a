"""What the wallet holds, for the status. Trades read their own balances: this is for people."""

from collections.abc import Sequence
from typing import NoReturn

import trio
from attrs import define, frozen
from solders.pubkey import Pubkey

from executor.chainstate.accounts import read_accounts
from executor.chainstate.mints import Mints
from executor.chainstate.refresher import refresh_forever
from executor.log import Log
from executor.model import Token
from executor.network.nodes import Nodes
from executor.network.solana import AccountInfo
from executor.programs import associated_token_address, parse_token_account

REFRESH_SECONDS = 5.0


@frozen(kw_only=True)
class Holding:
    """A raw amount of a token; of SOL: the wallet's lamports."""

    token: Token
    amount: int


@define(kw_only=True, eq=False)
class Holdings:
    """The wallet's balances and their age."""

    nodes: Nodes
    wallet: Pubkey
    mints: Mints
    log: Log
    _held: tuple[Holding, ...] = ()
    _fetched_at: float | None = None

    async def run(self) -> NoReturn:
        """Refresh until cancelled."""
        await self.mints.loaded.wait()
        await refresh_forever(self.refresh, every_seconds=REFRESH_SECONDS, name="holdings", log=self.log)

    async def refresh(self) -> None:
        """Read every whitelisted balance. Raises TransportError."""
        tokens = self.mints.known()
        addresses = [self._address(token) for token in tokens]
        if not addresses:
            return
        self._held = _holdings(tokens, await read_accounts(addresses, nodes=self.nodes))
        self._fetched_at = trio.current_time()

    def current(self) -> tuple[Holding, ...]:
        """What was held when it was read last; empty before."""
        return self._held

    def age_seconds(self) -> float | None:
        """Seconds since it was read; None before the first reading."""
        return None if self._fetched_at is None else trio.current_time() - self._fetched_at

    def _address(self, token: Token) -> Pubkey:
        return self.wallet if token.is_native else associated_token_address(self.wallet, token.mint, token.program)


def _holdings(tokens: Sequence[Token], infos: Sequence[AccountInfo | None]) -> tuple[Holding, ...]:
    return tuple(Holding(token=token, amount=_amount(token, info)) for token, info in zip(tokens, infos, strict=True))


def _amount(token: Token, info: AccountInfo | None) -> int:
    if info is None:
        return 0
    if token.is_native:
        return info.lamports
    account = parse_token_account(info.owner, info.data)
    return 0 if account is None else account.amount
