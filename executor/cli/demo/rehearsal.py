"""The demo's network where the chain is a real node's: our Jupiter API, a relay in front of the node, and a bank that pays."""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from attrs import field, frozen
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from executor.cli.demo.children import EXECUTOR, Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.stage import START_SECONDS, Localnet
from executor.cli.demo.validator import Validator, find_validator, start_validator
from executor.cli.demo.web import fetch
from executor.cli.localnet_process import UNTIL_WE_END
from executor.localnet.export import BANK, bank, write_export
from executor.localnet.market import Market
from executor.localnet.tokens import TOKENS, associated_address, create_associated, transfer_checked, transfer_lamports

EXPORT_FOLDER = "export"
LOOK_SECONDS = 0.1

Json = Any


@frozen(kw_only=True)
class Rehearsal(Localnet):
    """`process` is that of the Jupiter API; the chain is the validator's."""

    name: ClassVar[str] = "validator"
    validator: Validator
    relay_url: str
    _bank: Keypair = field(repr=False)

    @property
    def daemon_node_url(self) -> str:
        """The relay, in which a send can be lost."""
        return self.relay_url

    def fund(self, owner: str, *, lamports: int, tokens: Mapping[str, int]) -> None:
        """Let the bank pay, by ordinary transactions. Raises DemoFailed unless all are confirmed."""
        Bank(node_url=self.node_url, keypair=self._bank).pay(Pubkey.from_string(owner), lamports=lamports, tokens=tokens)

    def close(self) -> None:
        """End both processes."""
        super().close()
        self.validator.close()


def start_rehearsal(
    children: Children, *, seed: int, environment: Mapping[str, str], validator: Validator | None = None
) -> Rehearsal:
    """Start a validator, unless one is given, and the Jupiter API over its pools. Raises DemoFailed."""
    if validator is None:
        program = find_validator(environment, unpack_into=children.folder)
        validator = start_validator(children, program, export_genesis(children.folder / EXPORT_FOLDER, seed=seed))
    options = ["--json", "--node", validator.url, "--relay", "--rpc-port", "0", "--jupiter-port", "0", "--seed", str(seed)]
    process = children.start("jupiter", [*EXECUTOR, "localnet", UNTIL_WE_END, *options])
    facts = process.announcement(START_SECONDS)
    return Rehearsal(
        process=process,
        node_url=validator.url,
        relay_url=facts["nodes"][0]["url"],
        jupiter_url=facts["jupiter"],
        admin_url=facts["admin"],
        validator=validator,
        bank=bank_key(validator),
    )


def export_genesis(folder: Path, *, seed: int) -> Path:
    """Write the localnet's genesis into a new folder, with the bank."""
    write_export(folder, market=Market(seed=seed), seed=seed, wallets=[bank(seed)])
    return folder


def bank_key(validator: Validator) -> Keypair:
    """The key of the bank that a node has loaded."""
    (name,) = (wallet["keypair"] for wallet in validator.manifest["wallets"] if wallet["name"] == BANK)
    return Keypair.from_bytes(bytes(json.loads((validator.export / name).read_text(encoding="utf-8"))))


@frozen(kw_only=True)
class Bank:
    """A rich wallet on a node."""

    node_url: str
    keypair: Keypair = field(repr=False)
    patience_seconds: float = 30.0
    """For everything to be confirmed."""
    send_again_seconds: float = 2.0

    def pay(self, owner: Pubkey, *, lamports: int, tokens: Mapping[str, int]) -> None:
        """Transfer lamports, and raw amounts by mint. Raises DemoFailed unless everything is confirmed in time."""
        newest = self._ask("getLatestBlockhash", [{"commitment": "confirmed"}])["value"]
        blockhash = Hash.from_string(newest["blockhash"])
        wires = {
            str(transaction.signatures[0]): base64.b64encode(bytes(transaction)).decode()
            for transaction in (self._signed(instructions, blockhash) for instructions in self._payments(owner, lamports, tokens))
        }
        self._land(wires)

    def _payments(self, owner: Pubkey, lamports: int, tokens: Mapping[str, int]) -> Iterator[Sequence[Instruction]]:
        own = self.keypair.pubkey()
        if lamports:
            yield [transfer_lamports(source=own, destination=owner, lamports=lamports)]
        for token in TOKENS:
            amount = tokens.get(str(token.mint), 0)
            if amount:
                ends = {"source": associated_address(own, token), "destination": associated_address(owner, token)}
                yield [
                    create_associated(payer=own, owner=owner, token=token),
                    transfer_checked(token=token, owner=own, amount=amount, **ends),
                ]

    def _signed(self, instructions: Sequence[Instruction], blockhash: Hash) -> VersionedTransaction:
        return VersionedTransaction(MessageV0.try_compile(self.keypair.pubkey(), instructions, [], blockhash), [self.keypair])

    def _land(self, wires: dict[str, str]) -> None:
        """Send, and again, until everything is confirmed."""
        deadline, send_at = time.monotonic() + self.patience_seconds, 0.0
        while wires:
            now = time.monotonic()
            if now > deadline:
                raise DemoFailed(f"{len(wires)} of the bank's transfers are not confirmed within {self.patience_seconds:g} s")
            if now >= send_at:
                send_at = now + self.send_again_seconds
                for wire in wires.values():
                    self._ask("sendTransaction", [wire, {"encoding": "base64", "skipPreflight": True}])
            time.sleep(LOOK_SECONDS)
            statuses = self._ask("getSignatureStatuses", [list(wires)])["value"]
            for signature, status in list(zip(wires, statuses, strict=True)):
                if status is not None and status["err"] is not None:
                    raise DemoFailed(f"the bank cannot pay: {status['err']}")
                if status is not None and status["confirmationStatus"] != "processed":
                    del wires[signature]

    def _ask(self, method: str, params: Json) -> Json:
        answer = fetch(self.node_url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "error" in answer:
            raise DemoFailed(f"the node refuses {method}: {answer['error']}")
        return answer["result"]
