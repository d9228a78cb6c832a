"""Where the localnet answers otherwise than Agave 3.1.8, and why it may. Each entry must occur, or it has to go."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from attrs import frozen


@frozen
class Accepted:
    """Differences that may be: by question and by place in the answer, both with `*`."""

    question: str
    place: str
    reason: str

    def covers(self, question: str, place: str) -> bool:
        """Tell whether it is one of these."""
        return fnmatchcase(question, self.question) and fnmatchcase(place, self.place)


def _at(question: str, places: str, reason: str) -> Iterator[Accepted]:
    """The same reason at several places."""
    return (Accepted(question, place, reason) for place in places.split())


MEMO = "the localnet has mainnet's newer memo program, which logs and fails in other words; no trade holds a memo"
RENT_EPOCH = "accounts of the genesis itself show the epoch in which rent was last looked at; nobody reads it"
DATA_LIMIT = "refused one step earlier, with the same sentence; the daemon never sets a limit of zero"
INNER = (
    "a node parses the inner instructions of a simulation where it knows the program, the localnet shows them as they are; "
    "the daemon does not ask for them"
)

ACCEPTED = (
    Accepted("http: GET /health", "content-type", "the HTTP library names a type for every body; load balancers read the body"),
    Accepted("document: a member twice", "body.*", "Python's JSON reader takes the last of two equal members; nobody sends them"),
    *_at(
        "document: params an object",
        "body.error.message body.error.data",
        "refused in other words; no client of Solana sends named parameters",
    ),
    Accepted(
        "*Transaction: bytes: base58 in it",
        "body.error.message",
        "which rule of its format the node's decoder misses first in bytes that are no transaction",
    ),
    *_at("sendTransaction: data limit zero", "body.error.code body.error.message body.error.data", DATA_LIMIT),
    *_at("simulateTransaction: data limit zero*", "body.error body.result", DATA_LIMIT),
    Accepted("getMultipleAccounts: one of each, *", "body.result.value.[56].rentEpoch", RENT_EPOCH),
    Accepted("getMultipleAccounts: a program", "body.result.value.0.rentEpoch", RENT_EPOCH),
    Accepted("getTransaction: memo", "body.result.meta.logMessages*", MEMO),
    *_at("sendTransaction: a memo that is no text", "body.error.message body.error.data.err.* body.error.data.logs.*", MEMO),
    *_at("simulateTransaction: a memo that is no text*", "body.result.value.err.* body.result.value.logs.*", MEMO),
    Accepted("sendTransaction: a missing signer", "body.error.data.logs", MEMO),
    Accepted("simulateTransaction: a missing signer*", "body.result.value.logs", MEMO),
    *_at(
        "simulateTransaction: *",
        " ".join(
            f"body.result.value.innerInstructions.*.instructions.*.{name}" for name in ("accounts", "data", "parsed", "program")
        ),
        INNER,
    ),
)


def as_markdown() -> str:
    """The list as the documentation shows it."""
    rows = [f"| {entry.question} | `{entry.place}` | {entry.reason} |" for entry in ACCEPTED]
    return "\n".join(["| question | place in the answer | why it may differ |", "|---|---|---|", *rows])
