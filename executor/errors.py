"""Every way in which the executor says no, and the codes by which others know them.

Codes are CATEGORY_CONDITION and append-only: the journal, the proto, dashboards and callers hold them. Foreign exceptions are
mapped at the client that meets them (`raise ... from`), so that nothing outside `network/` knows what an HTTP library raises.
"""

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from attrs import field, frozen


class ReplyStatus(enum.Enum):
    """The gRPC status under which a refusal is answered; its value is the status's name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    NOT_FOUND = "NOT_FOUND"


FAILED: Final = "FAILED"
PENDING: Final = "PENDING"


@frozen
class CodeFacts:
    """What a code means to the one who gets it. docs/errors.md is made of it (scripts/errors)."""

    reply_status: ReplyStatus | None
    """Answered as this error status; None: as an OK reply with a TradeResult."""
    retryable: bool
    """A new request may help without anything else being changed first."""
    meaning: str
    """In half a sentence."""
    cause: str = field(kw_only=True)
    """What brings it about."""
    reaction: str = field(kw_only=True)
    """What the daemon does."""
    advice: str = field(kw_only=True)
    """What the caller, or the operator, should do."""
    results: tuple[str, ...] = field(kw_only=True)
    """The statuses of a TradeResult that may carry it: FAILED where it is no error status, if nothing else is said."""

    @results.default
    def _results(self) -> tuple[str, ...]:
        return (FAILED,) if self.reply_status is None else ()


@enum.unique  # equal facts would make one code an alias of another
class ErrorCode(enum.Enum):
    """Stable codes. Never remove, rename or reuse one."""

    # Refused by our own rules, before anything left the process.
    REQUEST_INVALID = CodeFacts(
        ReplyStatus.INVALID_ARGUMENT,
        False,
        "one or more fields of the request are wrong",
        cause="A field is missing, malformed or out of its range; google.rpc.BadRequest names every such field.",
        reaction="Refuses before anything is asked or written; the request leaves no trace in the journal.",
        advice="Mend the fields that are named; the same request_id may be used.",
    )
    REQUEST_ID_REUSED = CodeFacts(
        ReplyStatus.ALREADY_EXISTS,
        False,
        "the request_id was used for a request with other content",
        cause="An earlier request had this request_id and differs from this one in at least one field.",
        reaction="Refuses this call only; the earlier request and its outcome stay as they are.",
        advice="Use a new request_id for a new trade; to hear of the earlier one, call GetTrade.",
    )
    REQUEST_NOT_FOUND = CodeFacts(
        ReplyStatus.NOT_FOUND,
        False,
        "no request with this request_id was accepted",
        cause=(
            "GetTrade or WatchTrade asked for a request_id that the journal does not have: it never came in, or it was malformed."
        ),
        reaction="Nothing.",
        advice=(
            "Check the request_id and the daemon that you ask. If the request never arrived, send it, with the same request_id."
        ),
    )
    MINT_NOT_WHITELISTED = CodeFacts(
        ReplyStatus.FAILED_PRECONDITION,
        False,
        "the token is not on the whitelist",
        cause="The input or the output token has no [[tokens]] entry in the configuration.",
        reaction="Refuses; nothing is quoted.",
        advice=(
            "Check the mint. If the token is meant to be traded, the operator adds it to the configuration and restarts "
            "the daemon."
        ),
    )
    AMOUNT_ABOVE_LIMIT = CodeFacts(
        ReplyStatus.FAILED_PRECONDITION,
        False,
        "the amount exceeds the configured limit",
        cause="amount_lamports is above the token's max_amount for one trade.",
        reaction="Refuses; nothing is quoted.",
        advice="Trade less at a time, or have the operator raise the limit.",
    )
    BALANCE_INSUFFICIENT = CodeFacts(
        ReplyStatus.FAILED_PRECONDITION,
        False,
        "the wallet cannot pay the amount, fees and rent",
        cause=(
            "The wallet's balance, less what other trades in flight may still spend and the configured reserve, does not "
            "cover amount, fees and rent."
        ),
        reaction="Refuses and gives back what it had reserved; the message has the figures of what is needed, held and missing.",
        advice="Wait for the trades in flight to end, trade less, or fund the wallet. `executor status` shows its balances.",
    )
    PRICE_MOVED = CodeFacts(
        ReplyStatus.FAILED_PRECONDITION,
        True,
        "the quote is worse than the expected price allows",
        cause=(
            "The best quote is further below expected_price than max_slippage_bps allows, or the market falls faster than "
            "it can be quoted."
        ),
        reaction="Refuses; slippage is never widened beyond the request.",
        advice="Take a fresh price and decide again. The same request_id may be asked for again with the same content.",
    )
    FEE_ACCOUNT_INVALID = CodeFacts(
        ReplyStatus.FAILED_PRECONDITION,
        False,
        "the fee account cannot receive the fee",
        cause="fee_account does not exist, is no initialised token account, or is of a mint that is neither input nor output.",
        reaction=(
            "Refuses before the send, from the account itself or from Jupiter's refusal of it in the simulation; nothing is sent."
        ),
        advice="Pass the associated token account of the input or output mint, not a wallet's address, and create it first.",
        results=(FAILED,),
    )
    TRADES_IN_FLIGHT_EXCEEDED = CodeFacts(
        ReplyStatus.RESOURCE_EXHAUSTED,
        True,
        "too many trades are in flight",
        cause=(
            "As many trades are open, in all or of this source, as limits.max_trades_in_flight and its limit per source "
            "allow; a slow chain or a slow Jupiter keeps them open for longer."
        ),
        reaction="Refuses at once; nothing is queued.",
        advice="Send the same request again after a second. If it lasts, look at the stages' latencies in `executor status`.",
    )
    RATE_EXCEEDED = CodeFacts(
        ReplyStatus.RESOURCE_EXHAUSTED,
        True,
        "the source sends requests faster than its configured rate",
        cause="The source_service sends more requests per second than its configured rate and burst.",
        reaction="Refuses at once; requests that join an earlier one are not counted.",
        advice="Slow down, and send the same request again after the delay that google.rpc.RetryInfo names.",
    )
    DAILY_LIMIT_EXCEEDED = CodeFacts(
        ReplyStatus.RESOURCE_EXHAUSTED,
        True,
        "the amount exceeds what is left of a limit per day",
        cause=(
            "What was traded and is in flight this UTC day, in all or by this source, leaves less than this amount of a "
            "token's limit per day."
        ),
        reaction="Refuses; what is left stands in the message. The count starts again at midnight UTC and outlasts restarts.",
        advice="Trade less, wait for the next UTC day, or have the operator raise the limit.",
    )
    TRADING_HALTED = CodeFacts(
        ReplyStatus.UNAVAILABLE,
        True,
        "the circuit breaker is open",
        cause=(
            "Something opened the circuit breaker: an operator, too many failures, a loss limit, stale chain state, or no "
            "healthy node."
        ),
        reaction=(
            "Refuses new trades and those that are not signed yet, follows those that were sent, and lets single trades "
            "probe where the cause allows it. The message lists every cause."
        ),
        advice=(
            "Wait and send the same request again. The operator reads the causes in `executor status`, and `executor "
            "resume` closes it."
        ),
    )
    EXECUTOR_DRAINING = CodeFacts(
        ReplyStatus.UNAVAILABLE,
        True,
        "the daemon is shutting down",
        cause="The daemon was told to stop (SIGTERM).",
        reaction=(
            "Takes no new trades, stops those that are not signed, and follows those that were sent until the drain timeout."
        ),
        advice="Send the same request again once the daemon is back.",
    )
    CHAIN_STATE_STALE = CodeFacts(
        ReplyStatus.UNAVAILABLE,
        True,
        "no fresh blockhash or token facts from any node",
        cause="No node has given a blockhash within solana.max_blockhash_age_seconds, or the token's mint was not read yet.",
        reaction="Refuses before the send and goes on asking every node.",
        advice=(
            "Send the same request again after some seconds. If it lasts, the operator looks at the nodes in `executor status`."
        ),
    )
    JOURNAL_UNAVAILABLE = CodeFacts(
        ReplyStatus.UNAVAILABLE,
        True,
        "the journal cannot be written, so nothing may be sent",
        cause="The journal's disk is full, fails or is read-only.",
        reaction=(
            "Sends nothing that is not on disk first; trading is halted until the journal can be written. Trades that "
            "were sent are followed."
        ),
        advice="Operator: make room or mend the disk, see the reason in `executor status`. Then send the same request again.",
    )

    # An upstream refused, failed or lied; proved: nothing was sent, or nothing that was sent can land.
    JUPITER_UNREACHABLE = CodeFacts(
        None,
        True,
        "Jupiter did not answer",
        cause="No connection, a timeout, a lost connection, or a status of 5xx from Jupiter's API.",
        reaction="Asks again, with growing pauses, within the budget before the send; then gives the trade up unsent.",
        advice="Ask with a new request_id later. If it lasts, check the network, and whether the API is down for everybody.",
    )
    JUPITER_RATE_LIMITED = CodeFacts(
        None,
        True,
        "Jupiter limits our rate",
        cause="Jupiter's gateway answers 429: more calls than the key is allowed.",
        reaction=(
            "Waits as long as Jupiter asks, within the budget before the send, and asks again; then gives the trade up unsent."
        ),
        advice="Trade more slowly, or have the operator get a key with a higher limit.",
    )
    JUPITER_UNAUTHORIZED = CodeFacts(
        None,
        False,
        "Jupiter refuses our key",
        cause="Jupiter answers 401 or 403: the API key is missing, wrong or not good for this call.",
        reaction="Gives the trade up unsent at once.",
        advice=(
            "Operator: check jupiter.url and the variable that jupiter.api_key_env names, then restart. Callers can do nothing."
        ),
    )
    JUPITER_REFUSED = CodeFacts(
        None,
        False,
        "Jupiter refuses the request",
        cause=(
            "Jupiter calls the request invalid or not supported, or says something that no table knows; its words are in "
            "the message."
        ),
        reaction="Gives the trade up unsent at once; an answer that is unknown is said to be so.",
        advice="Read Jupiter's words in error_message. Mend the request if they speak of it; else report them to the operator.",
    )
    JUPITER_ANSWER_INVALID = CodeFacts(
        None,
        True,
        "Jupiter's answer does not fit the request or cannot be read",
        cause="The answer is no JSON, lacks a field, or is not for what was asked: other mints, amounts or slippage.",
        reaction=(
            "Believes nothing of it. Asks again where it may have been cut short, else gives the trade up unsent; the "
            "field is named."
        ),
        advice=(
            "Ask with a new request_id. If it lasts, report it: Jupiter's API may have changed, or something stands in between."
        ),
    )
    ROUTE_NOT_FOUND = CodeFacts(
        None,
        True,
        "Jupiter finds no route for this amount",
        cause="No pool, or none with enough liquidity, connects the two tokens for this amount now.",
        reaction="Asks once more without shared accounts where those were asked for; then gives the trade up unsent.",
        advice="Trade less, or ask with a new request_id later.",
    )
    TOKEN_NOT_TRADABLE = CodeFacts(
        None,
        False,
        "Jupiter does not trade this token",
        cause="Jupiter has blocked or delisted the token.",
        reaction="Gives the trade up unsent at once.",
        advice="Do not ask again. The operator may take the token off the whitelist.",
    )
    NODE_UNREACHABLE = CodeFacts(
        None,
        True,
        "no node answered",
        cause="No connection, a timeout, a lost connection, or a gateway's 502, 503 or 504, from every node that was asked.",
        reaction=(
            "Before a send it asks the other nodes at once, then all again with growing pauses. After a send it proves nothing."
        ),
        advice="Ask with a new request_id later. The operator sees each node's problem in `executor status`.",
    )
    NODE_RATE_LIMITED = CodeFacts(
        None,
        True,
        "every node limits our rate",
        cause="The nodes answer 429 or -32429: more calls than the plan of the provider allows.",
        reaction="Asks the other nodes, then waits as long as they ask for. After a send it proves nothing.",
        advice="Trade more slowly. Operator: a second node or a larger plan.",
    )
    NODE_UNAUTHORIZED = CodeFacts(
        None,
        False,
        "a node refuses our credentials",
        cause="A node answers 401 or 403: the key in its URL is missing, wrong or used up, or a firewall refuses us.",
        reaction="Asks the other nodes; gives the trade up unsent when there is none.",
        advice="Operator: check the node's URL and key in [[solana.nodes]], then restart. Callers can do nothing.",
    )
    NODE_REFUSED = CodeFacts(
        None,
        False,
        "a node refuses the call",
        cause="A node refuses the call itself: wrong address, unknown method or parameters, or an error that no table knows.",
        reaction="Gives the trade up unsent; after a send it proves nothing, and the same bytes are sent again.",
        advice="Operator: check the node's URL and what its provider supports; the node's words are in the message.",
    )
    NODE_UNHEALTHY = CodeFacts(
        None,
        True,
        "no node is healthy",
        cause="Every node is behind the cluster, has an internal error, or does not know the blockhash.",
        reaction="Asks the other nodes, then all again with growing pauses. After a send it proves nothing.",
        advice="Ask with a new request_id later. The operator sees each node's problem in `executor status`.",
    )
    NODE_ANSWER_INVALID = CodeFacts(
        None,
        True,
        "a node's answer cannot be read",
        cause="A node's answer is no JSON, too large, belongs to another call, or lacks a field that is named.",
        reaction="Asks another node; believes nothing of the answer. After a send it proves nothing.",
        advice=(
            "Ask with a new request_id later. If it lasts, the operator replaces the node: something about it is not as "
            "Agave does it."
        ),
    )
    TRANSACTION_FOREIGN = CodeFacts(
        None,
        False,
        "the transaction does something that was not asked for",
        cause=(
            "Jupiter's instructions do something that the request does not say: other accounts, amounts, programs or transfers."
        ),
        reaction="Signs nothing; the message names what was foreign.",
        advice=(
            "Do not ask again; report it. Either Jupiter has a new instruction that we do not know, or somebody forges "
            "its answers."
        ),
    )
    TRANSACTION_TOO_LARGE = CodeFacts(
        None,
        True,
        "the transaction does not fit into a packet",
        cause="The route needs more accounts than fit into a packet of 1232 bytes.",
        reaction=(
            "Asks for a route with fewer accounts, at most three offers in all, within the budget; then gives the trade "
            "up unsent."
        ),
        advice="Ask with a new request_id: another moment has another route.",
    )
    SIMULATION_FAILED = CodeFacts(
        None,
        True,
        "the simulated transaction failed",
        cause=(
            "A node ran the transaction, unsigned or in its preflight, and it failed; the message has program, error and "
            "instruction."
        ),
        reaction=(
            "Reacts as the tables below say of the error: another quote or route within the budget, or the trade is given "
            "up. After every node's preflight of a send the bytes are not sent again, and the trade ends once its expiry is "
            "proved."
        ),
        advice="Ask with a new request_id; if it fails in the same way again, read the error in error_message.",
    )
    SIMULATION_DISAGREES = CodeFacts(
        None,
        True,
        "the simulated transaction moves other amounts than the quote says",
        cause=(
            "The simulated transaction would spend another amount, bring less than the least that is allowed, or move "
            "something else."
        ),
        reaction="Signs nothing; the message lists every difference.",
        advice="Ask with a new request_id. If it lasts for a token, it may take a fee on transfers; report it.",
    )
    SLIPPAGE_EXCEEDED = CodeFacts(
        None,
        True,
        "the price moved beyond the slippage limit",
        cause=(
            "The price moved by more than max_slippage_bps between the quote and the simulation, or between the send and "
            "the block."
        ),
        reaction=(
            "Before the send it quotes again within the same slippage; on chain the swap reverted and the network fee is paid."
        ),
        advice="Ask with a new request_id, with more slippage only if that is wanted; it is never widened by itself.",
    )
    FUNDS_INSUFFICIENT = CodeFacts(
        None,
        False,
        "the chain says that the wallet cannot pay",
        cause="A node says, in simulation or preflight, that the wallet cannot pay the amount, the fee or an account's rent.",
        reaction=(
            "Gives the trade up: unsent, or, after every node's preflight, once its expiry is proved. That our own look at "
            "the balance let it pass means that something else spends from this wallet."
        ),
        advice="Fund the wallet, or find out who else uses its key.",
    )
    EXECUTOR_RESTARTED = CodeFacts(
        None,
        True,
        "the daemon died before the transaction was signed; nothing was sent",
        cause="The daemon died after it had accepted the request and before the transaction was signed.",
        reaction="Ends the trade as FAILED at the next start: without a signature nothing can have been sent.",
        advice="Ask with a new request_id.",
    )
    PRE_SEND_BUDGET_EXCEEDED = CodeFacts(
        None,
        True,
        "the time before the send ran out",
        cause="Quote, build, simulation and journal together took longer than limits.pre_send_budget_seconds.",
        reaction="Gives the trade up unsent: the quote is too old to be worth signing.",
        advice=(
            "Ask with a new request_id. If it lasts, the stages' latencies in `executor status` show which upstream or "
            "disk is slow."
        ),
    )

    # After the send.
    SWAP_REVERTED = CodeFacts(
        None,
        True,
        "the transaction landed and failed: the network fee is paid, no swap happened",
        cause="The transaction landed and a program of it failed; error_message has program and error.",
        reaction="Reports slot and fee from the chain. It is over: this signature can never swap.",
        advice="The network fee is spent, nothing else. Ask with a new request_id if the trade is still wanted.",
    )
    TRANSACTION_EXPIRED = CodeFacts(
        None,
        True,
        "proved: the transaction did not land and never will",
        cause="The last valid block height passed and every node, asked with its whole history, does not know the signature.",
        reaction="Had sent the same bytes again until then; ends the trade once the expiry is proved.",
        advice="Nothing was swapped and no fee was paid. Ask with a new request_id, perhaps with a higher urgency.",
    )
    CONFIRMATION_TIMEOUT = CodeFacts(
        None,
        False,
        "not proved either way yet; the daemon keeps watching the signature",
        cause=(
            "The transaction was neither confirmed nor proved expired within confirmation.timeout_seconds: it may have "
            "landed or land yet."
        ),
        reaction=(
            "Keeps watching the signature, and sending the same bytes unless they failed every node's preflight, until there "
            "is a proof, restarts included, and journals the outcome."
        ),
        advice="Do NOT trade again. Call GetTrade or WatchTrade with this request_id until it says SUCCESS or FAILED.",
        results=(PENDING,),
    )

    INTERNAL_ERROR = CodeFacts(
        None,
        False,
        "a bug in the executor",
        cause="A bug in the executor; or a node calls our transaction malformed or wrongly signed, which is one as well.",
        reaction=(
            "Ends this trade only and logs the details (`trade.bug`): FAILED when nothing was sent, PENDING when something was."
        ),
        advice=(
            "FAILED: nothing was swapped. PENDING: look up the signature, do not trade again. Report it with the daemon's log."
        ),
        results=(FAILED, PENDING),
    )

    @property
    def facts(self) -> CodeFacts:
        """What the code means and how it is answered."""
        value: CodeFacts = self.value
        return value


class ExecutorError(Exception):
    """The root of everything that the executor raises on purpose."""


class ConfigError(ExecutorError):
    """The configuration cannot be used; `problems` lists every reason, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@frozen
class FieldProblem:
    """One wrong field of a request."""

    field: str
    problem: str


class TradeError(ExecutorError):
    """A trade ended without a swap. `context` holds the figures, ready for logs and error details; no secrets."""

    def __init__(self, code: ErrorCode, message: str, **context: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.context: Mapping[str, object] = MappingProxyType(context)

    def add(self, words: str, **context: object) -> None:
        """Say more, once it is known."""
        self.message += words
        self.args = (self.message,)
        self.context = MappingProxyType({**self.context, **context})


class Denied(TradeError):
    """Ours: a rule refused, and nothing was sent."""


class InvalidRequest(Denied):
    """Malformed; `problems` names every wrong field at once."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        listed = "; ".join(f"{p.field}: {p.problem}" for p in problems)
        super().__init__(ErrorCode.REQUEST_INVALID, f"invalid request: {listed}")
        self.problems = tuple(problems)


class Rejected(TradeError):
    """Theirs: proved not accepted, and nothing was sent."""


class Expired(TradeError):
    """Proved never to land: the block height passed and no node knows the signature."""
