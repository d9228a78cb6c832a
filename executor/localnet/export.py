"""The localnet's genesis as files that another node loads: Agave's `solana-test-validator` takes them with --account-dir.

Equal seeds and equal wallets give equal files. A folder holds:

- `accounts/ADDRESS.json`: every account, in the form of `solana account --output json`
- `swap.so`: the program that has to stand at Jupiter's address (--bpf-program)
- `wallets/NAME.json`: key files of the wallets that were made for it, in the form of the Solana CLI
- `manifest.json`: what is what
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.errors import ExecutorError
from executor.localnet.market import TRADER_LAMPORTS, TRADER_USD, Market, worth
from executor.localnet.program import swap_elf
from executor.localnet.program.layout import PROGRAM_ID
from executor.localnet.tokens import SOL, TOKENS, associated_address
from executor.units import LAMPORTS_PER_SOL

ACCOUNTS_FOLDER: Final = "accounts"
WALLETS_FOLDER: Final = "wallets"
PROGRAM_FILE: Final = "swap.so"
MANIFEST_FILE: Final = "manifest.json"
BANK: Final = "bank"
BANK_LAMPORTS: Final = 100_000 * LAMPORTS_PER_SOL
BANK_USD: Final = 2_000_000
"""What the bank holds of each token: whoever has its key can fund any wallet by ordinary transfers."""
RENT_EXEMPT_EPOCH: Final = 2**64 - 1

Json = Any


class CannotExport(ExecutorError):
    """The folder cannot be written; the message is for its reader."""


@frozen(kw_only=True)
class Wallet:
    """A wallet of the export. Of SOL it holds lamports; `amounts` are of the other tokens, raw, by mint."""

    name: str
    address: Pubkey
    keypair: Keypair | None
    """None: somebody else has the key."""
    lamports: int
    amounts: Mapping[Pubkey, int]


def bank(seed: int) -> Wallet:
    """The wallet that a rehearsal funds others from."""
    keypair = Keypair.from_seed(hashlib.sha256(f"localnet bank {seed}".encode()).digest())
    amounts = {token.mint: worth(token, BANK_USD) for token in TOKENS if token != SOL}
    return Wallet(name=BANK, address=keypair.pubkey(), keypair=keypair, lamports=BANK_LAMPORTS, amounts=amounts)


def write_export(folder: Path, *, market: Market, seed: int, wallets: Sequence[Wallet]) -> None:
    """Write everything into a folder that is empty or not there yet. Raises `CannotExport`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CannotExport(f"{folder} is not empty: a node would load what is left there, too")
        _write(folder, market=market, seed=seed, wallets=wallets)
    except OSError as error:
        raise CannotExport(f"cannot write to {folder}: {error.strerror or error}") from error


def _write(folder: Path, *, market: Market, seed: int, wallets: Sequence[Wallet]) -> None:
    accounts, keys = folder / ACCOUNTS_FOLDER, folder / WALLETS_FOLDER
    accounts.mkdir()
    keys.mkdir()
    for address, account in (*market.genesis(), *_wallet_accounts(market, wallets)):
        _write_json(accounts / f"{address}.json", _account_json(address, account))
    for name, keypair in (*_own_keys(wallets), *_trader_keys(market)):
        _write_secret(keys / f"{name}.json", keypair)
    (folder / PROGRAM_FILE).write_bytes(swap_elf())
    _write_json(folder / MANIFEST_FILE, _manifest_json(market, seed, wallets))


def _wallet_accounts(market: Market, wallets: Iterable[Wallet]) -> Iterator[tuple[Pubkey, Account]]:
    for wallet in wallets:
        yield from market.wallet_accounts(wallet.address, {SOL.mint: wallet.lamports, **wallet.amounts})


def _own_keys(wallets: Iterable[Wallet]) -> Iterator[tuple[str, Keypair]]:
    return ((wallet.name, wallet.keypair) for wallet in wallets if wallet.keypair is not None)


def _trader_keys(market: Market) -> Iterator[tuple[str, Keypair]]:
    return ((f"trader-{number}", keypair) for number, keypair in enumerate(market.traders))


def _account_json(address: Pubkey, account: Account) -> Json:
    data = bytes(account.data)
    return {
        "pubkey": str(address),
        "account": {
            "lamports": account.lamports,
            "data": [base64.b64encode(data).decode(), "base64"],
            "owner": str(account.owner),
            "executable": account.executable,
            "rentEpoch": RENT_EXEMPT_EPOCH,
            "space": len(data),
        },
    }


def _manifest_json(market: Market, seed: int, wallets: Sequence[Wallet]) -> Json:
    symbols = {token.mint: token.symbol for token in TOKENS}
    return {
        "seed": seed,
        "program": {"address": str(PROGRAM_ID), "file": PROGRAM_FILE},
        "tokens": [
            {
                "symbol": token.symbol,
                "mint": str(token.mint),
                "decimals": token.decimals,
                "program": str(token.program),
                "transferFeeBps": token.transfer_fee.bps,
            }
            for token in TOKENS
        ],
        "pools": [
            {
                "address": str(pool.address),
                "tokens": [token.symbol for token in pool.tokens],
                "feeBps": pool.state.fee_bps,
                "vaults": {token.symbol: str(vault) for token, vault in pool.vaults},
                "reserves": {token.symbol: amount for token, amount in zip(pool.tokens, pool.reserves, strict=True)},
            }
            for pool in market.pools.values()
        ],
        "lookupTables": [{"address": str(table.key), "addresses": len(table.addresses)} for table in market.tables],
        "wallets": [
            *(_wallet_json(wallet, symbols) for wallet in wallets),
            *(_wallet_json(wallet, symbols) for wallet in _traders(market)),
        ],
    }


def _wallet_json(wallet: Wallet, symbols: Mapping[Pubkey, str]) -> Json:
    return {
        "name": wallet.name,
        "address": str(wallet.address),
        "keypair": f"{WALLETS_FOLDER}/{wallet.name}.json" if wallet.keypair is not None else None,
        "lamports": wallet.lamports,
        "tokens": {
            symbols[token.mint]: {"account": str(associated_address(wallet.address, token)), "amount": wallet.amounts[token.mint]}
            for token in TOKENS
            if token.mint in wallet.amounts
        },
    }


def _traders(market: Market) -> Iterator[Wallet]:
    amounts = {token.mint: worth(token, TRADER_USD) for token in TOKENS}
    for name, keypair in _trader_keys(market):
        yield Wallet(name=name, address=keypair.pubkey(), keypair=keypair, lamports=TRADER_LAMPORTS, amounts=amounts)


def _write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _write_secret(path: Path, keypair: Keypair) -> None:
    """Only its owner may read it, from the first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(list(bytes(keypair))) + "\n")
