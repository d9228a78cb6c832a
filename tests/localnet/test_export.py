"""The genesis as files: complete, the same for the same seed, secret where it must be, and refused rather than mixed up."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.cli import main
from executor.localnet.export import BANK_LAMPORTS, Wallet, bank, write_export
from executor.localnet.market import Market
from executor.localnet.program import swap_elf
from executor.localnet.tokens import SOL, TOKENS, USDC, associated_address, token_amount
from executor.wallet.keystore import load_wallet

FRIEND = Keypair.from_seed(b"\7" * 32).pubkey()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of seed 5 with one wallet of somebody else's."""
    folder = tmp_path_factory.mktemp("export") / "new" / "deep"
    assert main(["localnet", "--export", str(folder), "--seed", "5", "--fund", str(FRIEND), "--fund", str(FRIEND)]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def account(folder: Path, address: Pubkey | str) -> Account:
    """An account as a validator reads it."""
    value = json.loads((folder / "accounts" / f"{address}.json").read_text())
    assert value["pubkey"] == str(address)
    facts = value["account"]
    data = base64.b64decode(facts["data"][0])
    assert (facts["data"][1], facts["rentEpoch"], facts["space"]) == ("base64", 2**64 - 1, len(data))
    return Account(facts["lamports"], data, Pubkey.from_string(facts["owner"]), facts["executable"])


def manifest(folder: Path) -> Any:
    """What is what."""
    return json.loads((folder / "manifest.json").read_text())


def test_equal_seeds_give_equal_files(folder: Path, tmp_path: Path) -> None:
    """Byte by byte; another seed has other traders and another bank."""
    assert main(["localnet", "--export", str(tmp_path / "a"), "--seed", "5", "--fund", str(FRIEND)]) == 0
    assert contents(tmp_path / "a") == contents(folder)
    assert main(["localnet", "--export", str(tmp_path / "b"), "--seed", "6"]) == 0
    assert manifest(tmp_path / "b")["wallets"][0]["address"] != manifest(folder)["wallets"][0]["address"]


def test_every_account_of_the_genesis_is_there(folder: Path) -> None:
    """As the localnet's own cluster has it."""
    for address, expected in Market(seed=5).genesis():
        assert account(folder, address) == expected
    assert (folder / "swap.so").read_bytes() == swap_elf()


def test_the_manifest_says_what_is_what(folder: Path) -> None:
    """Tokens, pools with their vaults, tables, and who holds what."""
    facts = manifest(folder)
    assert facts["seed"] == 5
    assert [(token["symbol"], token["mint"]) for token in facts["tokens"]] == [(t.symbol, str(t.mint)) for t in TOKENS]
    for pool in facts["pools"]:
        for symbol, vault in pool["vaults"].items():
            assert token_amount(account(folder, vault)) == pool["reserves"][symbol]
    assert all((folder / "accounts" / f"{table['address']}.json").is_file() for table in facts["lookupTables"])
    assert (folder / facts["program"]["file"]).is_file()
    for wallet in facts["wallets"]:
        assert account(folder, wallet["address"]).lamports == wallet["lamports"]
        assert all(token_amount(account(folder, held["account"])) == held["amount"] for held in wallet["tokens"].values())


def test_a_wallet_of_somebody_else_is_funded_without_a_key(folder: Path) -> None:
    """Named once, however often it is asked for."""
    (friend,) = (wallet for wallet in manifest(folder)["wallets"] if wallet["address"] == str(FRIEND))
    assert (friend["name"], friend["keypair"]) == ("fund-0", None)
    assert friend["tokens"]["USDC"]["account"] == str(associated_address(FRIEND, USDC))


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    """Files that the daemon itself would take for wallets: mode 600, and each opens the address that the manifest names."""
    own = [wallet for wallet in manifest(folder)["wallets"] if wallet["keypair"] is not None]
    assert len(own) == len(list((folder / "wallets").iterdir())) == 9
    for wallet in own:
        path = folder / wallet["keypair"]
        assert path.stat().st_mode & 0o777 == 0o600
        assert str(load_wallet(path).address) == wallet["address"]


def test_the_bank_can_fund_many(folder: Path) -> None:
    """Any wallet gets SOL and tokens from it by ordinary transfers."""
    rich = bank(5)
    assert account(folder, rich.address).lamports == BANK_LAMPORTS
    assert set(rich.amounts) == {token.mint for token in TOKENS if token != SOL}


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A node would load what is left there; nothing is written."""
    (tmp_path / "old.json").write_text("{}")
    assert main(["localnet", "--export", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "old.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the system's reason."""
    (tmp_path / "file").write_text("")
    assert main(["localnet", "--export", str(tmp_path / "file" / "below")]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_a_key_file_is_never_readable_in_between(tmp_path: Path) -> None:
    """Whatever the umask says, it is made with mode 600."""
    before = os.umask(0)
    try:
        keypair = Keypair()
        wallet = Wallet(name="one", address=keypair.pubkey(), keypair=keypair, lamports=1, amounts={})
        write_export(tmp_path / "x", market=Market(seed=1), seed=1, wallets=[wallet])
    finally:
        os.umask(before)
    assert (tmp_path / "x" / "wallets" / "one.json").stat().st_mode & 0o777 == 0o600
