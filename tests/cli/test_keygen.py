"""`executor keygen`."""

import json
import stat
from pathlib import Path

from solders.keypair import Keypair

from executor.cli import main
from tests.cli.commands import (
    Capture,
    printed,
)


def test_a_new_wallet_is_its_owners_alone(tmp_path: Path, capsys: Capture) -> None:
    """The file is a Solana CLI keypair with mode 0600, and the address printed is its own; the key is not printed."""
    path = tmp_path / "keys" / "wallet.json"
    assert main(["keygen", str(path)]) == 0
    numbers = json.loads(path.read_text())
    page = capsys.readouterr().out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"address {Keypair.from_bytes(bytes(numbers)).pubkey()}\n" in page
    assert ", ".join(map(str, numbers[:4])) not in page


def test_a_wallet_is_never_overwritten(tmp_path: Path, capsys: Capture) -> None:
    """The second keygen exits 2, says why, and leaves the file as it was; --json tells path and address of the first."""
    path = tmp_path / "wallet.json"
    assert main(["keygen", "--json", str(path)]) == 0
    before = path.read_bytes()
    assert printed(capsys) == {"path": str(path), "address": str(Keypair.from_bytes(bytes(json.loads(before))).pubkey())}
    assert main(["keygen", str(path)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before
