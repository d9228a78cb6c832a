"""One side of the conversation: a node that is asked over plain HTTP, and what it answered to each question."""

import base64
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

CALL_SECONDS = 10.0
LANDING_SECONDS = 30.0
LOOK_SECONDS = 0.05
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
JSON_TYPE = {"content-type": "application/json"}

Json = Any


@frozen
class Answer:
    """What came back: the body's JSON, or its text where it is none."""

    status: int
    content_type: str | None
    body: Json


@define
class Side:
    """A node with the answers that it gave, by question."""

    url: str
    payer: Keypair
    answers: dict[str, Answer] = field(factory=dict)
    names: dict[str, str] = field(factory=dict)
    """Of signatures and of whole transactions, by which both sides call them the same."""
    program_lamports: set[int] = field(factory=set)
    """What program accounts hold here."""

    # --- questions

    def ask(self, name: str, method: str, *params: Json) -> Json:
        """Make a JSON-RPC call and keep the answer under a name; returns its result, or None."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self.raw(f"{method}: {name}", json.dumps(body))
        return answer.body.get("result") if isinstance(answer.body, dict) else None

    def raw(
        self, name: str, body: str | bytes | None, *, headers: Mapping[str, str] = JSON_TYPE, verb: str = "POST", path: str = "/"
    ) -> Answer:
        """Make any request and keep the answer under a name."""
        if name in self.answers:
            raise AssertionError(f"{name} was asked before")
        answer = self._fetch(body, headers=headers, verb=verb, path=path)
        self.answers[name] = answer
        return answer

    def quietly(self, method: str, *params: Json) -> Json:
        """Make a call that is no question; returns its result."""
        answer = self._fetch(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})).body
        if "result" not in answer:
            raise AssertionError(f"{self.url} {method}: {answer}")
        return answer["result"]

    def _fetch(
        self, body: str | bytes | None, *, headers: Mapping[str, str] = JSON_TYPE, verb: str = "POST", path: str = "/"
    ) -> Answer:
        place = urlsplit(self.url)
        with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=CALL_SECONDS)) as connection:
            connection.request(verb, path, body, dict(headers))
            response = connection.getresponse()
            text = response.read().decode()
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        return Answer(response.status, response.getheader("content-type"), value)

    # --- transactions

    def blockhash(self, commitment: str = "confirmed") -> Hash:
        """The newest one."""
        return Hash.from_string(self.quietly("getLatestBlockhash", {"commitment": commitment})["value"]["blockhash"])

    def message(
        self,
        instructions: Sequence[Instruction],
        *,
        blockhash: Hash | None = None,
        tables: Sequence[AddressLookupTableAccount] = (),
        payer: Keypair | None = None,
    ) -> MessageV0:
        """A message of the payer's with a fresh blockhash."""
        key = (payer or self.payer).pubkey()
        return MessageV0.try_compile(key, list(instructions), list(tables), blockhash or self.blockhash())

    def signed(
        self,
        name: str,
        instructions: Sequence[Instruction],
        *,
        blockhash: Hash | None = None,
        tables: Sequence[AddressLookupTableAccount] = (),
        payer: Keypair | None = None,
    ) -> VersionedTransaction:
        """A transaction of the payer's, by a name that stands for its signature on both sides."""
        message = self.message(instructions, blockhash=blockhash, tables=tables, payer=payer)
        return self.named(name, VersionedTransaction(message, [payer or self.payer]))

    def named(self, name: str, transaction: VersionedTransaction) -> VersionedTransaction:
        """Call the signatures of a transaction by a name."""
        for signature in transaction.signatures:
            self.names.setdefault(str(signature), f"<signature of {name}>")
        self.names[encoded(transaction)] = self.names[in_base58(transaction)] = f"<bytes of {name}>"
        return transaction

    def land(self, transaction: VersionedTransaction) -> str:
        """Send a transaction unchecked, and again, until it is confirmed, failed or not; returns its signature."""
        signature = str(transaction.signatures[0])
        deadline = time.monotonic() + LANDING_SECONDS
        while time.monotonic() < deadline:
            self.quietly("sendTransaction", encoded(transaction), {"encoding": "base64", "skipPreflight": True})
            for _ in range(40):
                if self.is_confirmed(signature):
                    return signature
                time.sleep(LOOK_SECONDS)
        raise AssertionError(f"{self.url}: {signature} has not landed")

    def is_confirmed(self, signature: str) -> bool:
        """Whether a transaction is confirmed, and the node tells its metadata."""
        options = {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}
        return self.quietly("getTransaction", signature, options) is not None


def in_base58(transaction: VersionedTransaction) -> str:
    """In the older encoding."""
    number, digits = int.from_bytes(bytes(transaction), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return digits


def encoded(transaction: VersionedTransaction) -> str:
    """As base64."""
    return base64.b64encode(bytes(transaction)).decode()
