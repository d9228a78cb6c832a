"""Every setting of the daemon with its unit, its range and its default; `load` reads them and reports all that is wrong at once.

What a file may hold, and `config.toml` documents, is exactly what the classes below declare. Values may hold credentials (the
URL of a node does): they are in no `repr` and in no problem.
"""

import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated

from attrs import field, frozen
from solders.pubkey import Pubkey

from executor.errors import ConfigError
from executor.log import LEVELS, cut_urls
from executor.settings import Address, Duration, Flag, Reader, Text, Whole
from executor.toml_lines import KeyPath, find_lines
from executor.units import BPS_PER_WHOLE, LAMPORTS_PER_SOL, U64_MAX

_LABEL = r"[A-Za-z0-9_-]{1,63}"  # longer or empty ones cannot be looked up
_HOST = rf"({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])"
_PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_HTTP_URL = rf"https?://([A-Za-z0-9._~!$&'()*+,;=:%-]+@)?{_HOST}(:{_PORT})?([/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?"
# Where a path is asked for, people paste the key itself: 64 bytes in base58, or the JSON array of a keypair file.
_PATH = r"(?!\s*\[)(?![1-9A-HJ-NP-Za-km-z]{80,}$)[^\x00-\x1f]+"

Url = Annotated[
    str,
    Text(
        pattern=_HTTP_URL,
        allowed="http(s)://host[:port][/path], in which ${NAME} is taken from the environment",
        hidden=True,
        expanded=True,
    ),
]
ListenAddress = Annotated[
    str, Text(pattern=rf"{_HOST}:(0|{_PORT})|unix:/[^\x00-\x1f]+", allowed="host:port (port 0: any free one) or unix:/path")
]
Directory = Annotated[str, Text(pattern=r"[^\x00-\x1f]+", allowed="the path of a directory")]
KeypairPath = Annotated[str, Text(pattern=_PATH, allowed="the path of a keypair file, never the key itself", hidden=True)]
TransportName = Annotated[str, Text(pattern="trio|httpx", allowed="trio or httpx")]
LogLevel = Annotated[str, Text(pattern="|".join(LEVELS), allowed=" or ".join(LEVELS))]
# Capitals only: a key that was pasted here by mistake is refused, unseen, instead of being looked up and named in messages.
VariableName = Annotated[
    str,
    Text(
        pattern="([A-Z_][A-Z0-9_]{0,63})?",
        allowed='the name of an environment variable, in capitals, or "" for none',
        hidden=True,
    ),
]
NodeName = Annotated[str, Text(pattern=r"[A-Za-z0-9._-]{1,64}", allowed="1 to 64 letters, digits, '.', '_' or '-'")]
Symbol = Annotated[str, Text(pattern=r"[A-Za-z0-9$._-]{1,16}", allowed="1 to 16 letters, digits, '$', '.', '_' or '-'")]
Switch = Annotated[bool, Flag()]
Percentile = Annotated[int, Whole(0, 100)]
FeeLamports = Annotated[int, Whole(0, LAMPORTS_PER_SOL)]
Timeout = Annotated[float, Duration(0.001, 600)]
Interval = Annotated[float, Duration(0.01, 60)]


@frozen(kw_only=True)
class GrpcSettings:
    """[grpc]: where callers find the daemon."""

    listen_address: ListenAddress = "127.0.0.1:50051"
    """host:port, where port 0 picks a free one, or unix:/path: a socket file that its owner and group may use."""


@frozen(kw_only=True)
class DaemonSettings:
    """[daemon]: the process itself."""

    data_directory: Directory = "~/.local/share/executor"
    """Where the journal lies. A leading ~ is the user's home; whoever opens it expands it."""
    drain_timeout_seconds: Timeout = 40.0
    """How long a SIGTERM waits for trades that were sent."""
    log_level: LogLevel = "info"
    """The least severe events that are logged."""
    http_transport: TransportName = "trio"
    """What carries calls to nodes and to Jupiter."""


@frozen(kw_only=True)
class WalletSettings:
    """[wallet]: the key that pays."""

    keypair_path: KeypairPath = "~/.config/solana/id.json"
    """A Solana CLI keypair file, readable by its owner only. A leading ~ is the user's home; whoever opens it expands it."""


@frozen(kw_only=True)
class JupiterSettings:
    """[jupiter]: who quotes and routes."""

    url: Url = field(default="https://api.jup.ag/swap/v1", repr=False)
    """The base under which `quote` and `swap-instructions` stand."""
    api_key_env: VariableName = "JUPITER_API_KEY"
    """The environment variable that holds the API key; "" = none is sent."""
    timeout_seconds: Timeout = 2.0
    """For one call."""
    use_shared_accounts: Switch = True
    """Route through Jupiter's own token accounts where the router allows it."""
    platform_fee_bps: Annotated[int, Whole(0, 255)] = 0
    """The share of a swap, in basis points, that goes to the `fee_account` of a request that names one."""

    @property
    def endpoint(self) -> str:
        """The URL without anything that could be a credential: for logs, errors and the status."""
        return cut_urls(self.url)


@frozen(kw_only=True)
class NodeSettings:
    """[[solana.nodes]]: a JSON-RPC node."""

    name: NodeName
    """How logs, metrics and the status call it."""
    url: Url = field(repr=False)
    """Often holds a key, so it is never shown: see `endpoint`."""

    @property
    def endpoint(self) -> str:
        """The URL without anything that could be a credential: for logs, errors and the status."""
        return cut_urls(self.url)


@frozen(kw_only=True)
class SolanaSettings:
    """[solana]: the nodes and how they are used."""

    nodes: tuple[NodeSettings, ...] = ()
    """In order of preference; a transaction goes to all of them. A file must name at least one."""
    request_timeout_seconds: Timeout = 2.0
    """For one call to one node."""
    skip_preflight: Switch = True
    """Send without the node's own simulation: ours was done before. What fails every node's is not sent again."""
    blockhash_refresh_seconds: Interval = 1.0
    """How often a fresh blockhash is fetched."""
    max_blockhash_age_seconds: Interval = 10.0
    """No trade is signed with an older one."""


@frozen(kw_only=True)
class FeeSettings:
    """[fees]: what a place in a block is worth."""

    percentile_low: Percentile = 50
    """Of recent fees on the accounts that a swap writes, for urgency LOW."""
    percentile_normal: Percentile = 75
    """The same for NORMAL."""
    percentile_high: Percentile = 90
    """The same for HIGH."""
    percentile_critical: Percentile = 95
    """The same for CRITICAL."""
    min_priority_fee_lamports: FeeLamports = 1_000
    """The least priority fee of a transaction, in total."""
    max_priority_fee_lamports: FeeLamports = 10_000
    """The largest priority fee of a transaction, in total."""
    cache_seconds: Timeout = 10.0
    """How long recent fees are used before they are asked for again."""
    reserve_lamports: Annotated[int, Whole(0, U64_MAX)] = 5_000_000
    """What always stays in the wallet."""


@frozen(kw_only=True)
class LimitSettings:
    """[limits]: what is refused before anything is done."""

    max_slippage_bps: Annotated[int, Whole(0, BPS_PER_WHOLE)] = 300
    """The largest slippage that a request may allow, in basis points."""
    max_trades_in_flight: Annotated[int, Whole(1, 100_000)] = 256
    """Further requests are refused."""
    max_trades_in_flight_per_source: Annotated[int, Whole(0, 100_000)] = 0
    """The same for one source_service; 0 = no limit of its own."""
    requests_per_second_per_source: Annotated[int, Whole(0, 100_000)] = 0
    """How many requests a source_service may make in the long run, those apart that join an earlier one; 0 = no limit."""
    request_burst_per_source: Annotated[int, Whole(1, 100_000)] = 20
    """How many of them may come at once after a pause."""
    pre_send_budget_seconds: Timeout = 5.0
    """From the receipt to the first send; a trade that takes longer is given up unsent."""


@frozen(kw_only=True)
class BreakerSettings:
    """[breaker]: what halts trading, and for how long. What our callers did wrong never counts."""

    window_seconds: Annotated[float, Duration(1, 3600)] = 60.0
    """Over which failed trades are counted."""
    error_rate_percent: Percentile = 50
    """Opens when so many of a hundred trades that ended within the window failed; 0 = never."""
    error_rate_min_trades: Annotated[int, Whole(1, 1_000_000)] = 20
    """Fewer trades within the window are no rate."""
    error_count: Annotated[int, Whole(0, 1_000_000)] = 0
    """Opens when so many trades failed within the window; 0 = never."""
    landed_failures: Annotated[int, Whole(0, 1_000_000)] = 5
    """Opens when so many transactions in a row landed and failed; 0 = never."""
    slow_broadcast_p99_seconds: Annotated[float, Duration(0, 600)] = 3.0
    """Opens when the 99th percentile from the receipt to the first send is above this; 0 = never."""
    slow_broadcast_trades: Annotated[int, Whole(1, 1_000)] = 100
    """Of that many of the latest trades that were sent; fewer are not judged."""
    open_seconds: Timeout = 30.0
    """How long it stays open before trades may probe; doubles whenever a probe fails."""
    max_open_seconds: Annotated[float, Duration(0.001, 86_400)] = 600.0
    """The longest that it stays open before trades may probe again."""
    probe_trades: Annotated[int, Whole(1, 1_000)] = 1
    """How many trades may probe at a time."""
    probe_successes: Annotated[int, Whole(1, 1_000)] = 3
    """How many of them must succeed before it closes."""


@frozen(kw_only=True)
class ConfirmationSettings:
    """[confirmation]: how a transaction is followed."""

    timeout_seconds: Timeout = 30.0
    """How long a caller waits before it is told PENDING; the transaction is followed on."""
    poll_initial_seconds: Interval = 0.1
    """From the send to the first look; the gap then doubles."""
    poll_max_seconds: Interval = 1.0
    """The longest gap between two looks."""
    resend_seconds: Annotated[float, Duration(0.1, 60)] = 2.0
    """How often the same bytes are sent again until they are confirmed or have expired."""


@frozen(kw_only=True)
class RetrySettings:
    """[retry]: transient faults before anything was sent."""

    max_retries: Annotated[int, Whole(0, 10)] = 3
    """After the first attempt."""
    initial_delay_seconds: Interval = 0.1
    """Before the first retry; it doubles, with jitter."""


@frozen(kw_only=True)
class TokenSettings:
    """[[tokens]]: the whitelist; no other token is traded."""

    symbol: Symbol
    """What a person calls it."""
    mint: Annotated[Pubkey, Address()]
    """Its address; of wrapped SOL for SOL."""
    max_amount: Annotated[int, Whole(1, U64_MAX)]
    """The largest amount that a trade may spend, in the token's smallest unit."""
    max_amount_per_day: Annotated[int, Whole(0, U64_MAX)] = 0
    """The largest amount that all trades of a UTC day may spend together, in the smallest unit; 0 = no limit."""
    max_amount_per_source_per_day: Annotated[int, Whole(0, U64_MAX)] = 0
    """The same for the trades of one source_service; 0 = no limit."""
    max_loss_per_day: Annotated[int, Whole(0, U64_MAX)] = 0
    """The circuit breaker opens above this loss within 24 hours, in the smallest unit; 0 = no limit."""


@frozen(kw_only=True)
class Config:
    """All of it."""

    grpc: GrpcSettings = GrpcSettings()
    daemon: DaemonSettings = DaemonSettings()
    wallet: WalletSettings = WalletSettings()
    jupiter: JupiterSettings = JupiterSettings()
    solana: SolanaSettings = SolanaSettings()
    fees: FeeSettings = FeeSettings()
    limits: LimitSettings = LimitSettings()
    breaker: BreakerSettings = BreakerSettings()
    confirmation: ConfirmationSettings = ConfirmationSettings()
    retry: RetrySettings = RetrySettings()
    tokens: tuple[TokenSettings, ...] = ()


# Settings that must not exceed the next one.
_RISING: Sequence[tuple[KeyPath, ...]] = (
    tuple(("fees", f"percentile_{urgency}") for urgency in ("low", "normal", "high", "critical")),
    (("fees", "min_priority_fee_lamports"), ("fees", "max_priority_fee_lamports")),
    (("solana", "blockhash_refresh_seconds"), ("solana", "max_blockhash_age_seconds")),
    (("breaker", "open_seconds"), ("breaker", "max_open_seconds")),
    (("confirmation", "poll_initial_seconds"), ("confirmation", "poll_max_seconds")),
    (("confirmation", "poll_initial_seconds"), ("confirmation", "resend_seconds")),  # look before sending again
)
_UNIQUE: Sequence[tuple[KeyPath, str]] = ((("solana", "nodes"), "name"), (("tokens",), "symbol"), (("tokens",), "mint"))


def load(text: str, *, environment: Mapping[str, str], source: str) -> Config:
    """Read a configuration. `source` is what problems call the text. Raises ConfigError with every problem, in order of lines."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also of an integer with thousands of digits
        raise ConfigError([_syntax_problem(text, error, source)]) from None
    reader = Reader(lines=find_lines(text), environment=environment)
    config = reader.read_table((), Config, document)
    reader.require_element(("solana", "nodes"), "a name and a url")
    for rising in _RISING:
        reader.require_order(rising)
    for array, key in _UNIQUE:
        reader.require_unique(array, key)
    if reader.problems:
        raise ConfigError([f"{source}:{line}: {problem}" for line, problem in sorted(reader.problems)])
    return typing.cast(Config, config)


def _syntax_problem(text: str, error: Exception, source: str) -> str:
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
    if found:
        return f"{source}:{found[2]}: column {found[3]}: not TOML: {found[1]}"
    what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return f"{source}:{text.count(chr(10)) + 1}: column 1: not TOML: {what}"
