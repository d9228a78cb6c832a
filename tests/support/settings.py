"""Configurations for daemons under test: the text of a config.toml that points at a localnet, quick in everything."""

import json
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen
from solders.keypair import Keypair

from tests.support.localnet import BY_SYMBOL

Section = Mapping[str, object]

QUICK: Mapping[str, Section] = {
    "grpc": {"listen_address": "127.0.0.1:0"},
    "daemon": {"drain_timeout_seconds": 5.0, "log_level": "debug"},
    "jupiter": {"api_key_env": ""},
    "solana": {"blockhash_refresh_seconds": 0.1},
    "confirmation": {"poll_initial_seconds": 0.02, "poll_max_seconds": 0.1, "resend_seconds": 0.2},
    "retry": {"initial_delay_seconds": 0.01},
}
"""What differs from the defaults, so that nothing makes a test wait."""
MAX_AMOUNTS = {
    "SOL": 100 * 10**9,
    "USDC": 20_000 * 10**6,
    "BONK": 500_000_000 * 10**5,
    "JitoSOL": 100 * 10**9,
    "RAY": 5_000 * 10**6,
    "BERN": 1_000_000_000 * 10**5,
}


@frozen(kw_only=True)
class Place:
    """Where a daemon under test lives, and whom it asks."""

    folder: Path
    """Of its own; the wallet's file and the journal are made in it."""
    nodes: tuple[str, ...]
    """URLs; called node-0, node-1 ..."""
    jupiter: str

    @property
    def keypair_path(self) -> Path:
        """The wallet's file."""
        return self.folder / "wallet.json"

    @property
    def data_directory(self) -> Path:
        """Where the journal lies."""
        return self.folder / "data"

    @property
    def journal_path(self) -> Path:
        """The journal's file."""
        return self.data_directory / "journal.sqlite3"

    def config_text(self, **changes: Section) -> str:
        """A whole config.toml: `QUICK`, changed section by section; `tokens` changes every token."""
        every_token = changes.pop("tokens", {})
        places: Mapping[str, Section] = {
            "daemon": {"data_directory": str(self.data_directory)},
            "wallet": {"keypair_path": str(self.keypair_path)},
            "jupiter": {"url": self.jupiter},
        }
        names = dict.fromkeys([*QUICK, *places, *changes])
        sections = {name: {**QUICK.get(name, {}), **places.get(name, {}), **changes.get(name, {})} for name in names}
        nodes = [{"name": f"node-{i}", "url": url} for i, url in enumerate(self.nodes)]
        tokens = [
            {"symbol": s, "mint": str(BY_SYMBOL[s].mint), "max_amount": most, **every_token} for s, most in MAX_AMOUNTS.items()
        ]
        return "\n".join(
            [
                *(_table(f"[{name}]", section) for name, section in sections.items()),
                *(_table("[[solana.nodes]]", node) for node in nodes),
                *(_table("[[tokens]]", token) for token in tokens),
            ]
        )

    def write_wallet(self, keypair: Keypair) -> None:
        """Write a keypair file as the Solana CLI does."""
        self.folder.mkdir(exist_ok=True)
        self.keypair_path.touch(mode=0o600)
        self.keypair_path.write_text(json.dumps(list(bytes(keypair))))


def _table(head: str, section: Section) -> str:
    return "\n".join([head, *(f"{key} = {json.dumps(value)}" for key, value in section.items()), ""])
