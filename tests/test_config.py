import importlib.resources
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.config import Config, FeeSettings, JupiterSettings, NodeSettings, load
from executor.errors import ConfigError
from executor.toml_lines import KeyPath, find_lines

SHIPPED = importlib.resources.files("executor").joinpath("config.toml").read_text()
NODE = '[[solana.nodes]]\nname = "main"\nurl = "https://node.example"\n'
SECRET = "HUNTER2hunter2"


def read(text: str, environment: Mapping[str, str] | None = None) -> Config:
    """Load a text without an environment of this process."""
    return load(text, environment=environment or {}, source="config.toml")


def problems(text: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What is wrong with a text; nothing wrong is a failure of the test."""
    with pytest.raises(ConfigError) as refused:
        read(text, environment)
    return refused.value.problems


def problem(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The one thing that is wrong with these settings, which stand after those of a node."""
    (only,) = problems(NODE + text, environment)
    return only


def keys(kind: type[Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every setting of a class and of the classes in it, as TOML would hold it; of an array the first element."""
    hints = typing.get_type_hints(kind)
    for one in attrs.fields(kind):
        hint = hints[one.name]
        if typing.get_origin(hint) is tuple:
            yield from keys(typing.get_args(hint)[0], (*path, one.name, 0))
        elif attrs.has(hint):
            yield from keys(hint, (*path, one.name))
        else:
            yield (*path, one.name)


def test_the_shipped_file_holds_the_defaults() -> None:
    """config.toml sets every key to its default, names one example node and six tokens."""
    config = read(SHIPPED)
    assert attrs.evolve(config, solana=attrs.evolve(config.solana, nodes=()), tokens=()) == Config()
    assert [(node.name, node.url) for node in config.solana.nodes] == [("mainnet-beta", "https://api.mainnet-beta.solana.com")]
    assert [token.symbol for token in config.tokens] == ["SOL", "USDC", "BONK", "JitoSOL", "RAY", "BERN"]
    assert all(token.max_amount > 0 for token in config.tokens)


def test_every_setting_is_documented() -> None:
    """config.toml has every key that exists, each with a comment on the line above it."""
    lines = find_lines(SHIPPED)
    text = SHIPPED.splitlines()
    for path in keys(Config):
        assert path in lines
        assert re.match("# .{10}", text[lines[path] - 2]), path


def test_units_stand_in_names() -> None:
    """A number that is neither a count nor a share of a hundred names its unit."""
    units = ("_seconds", "_lamports", "_bps", "_percent")
    unnamed = {
        path[-1]
        for path in keys(Config)
        if not str(path[-1]).endswith(units) and isinstance(_value(read(SHIPPED), path), int | float)
    }
    counts = {"max_trades_in_flight", "max_retries", "use_shared_accounts", "skip_preflight"}
    counts |= {"max_trades_in_flight_per_source", "requests_per_second_per_source", "request_burst_per_source"}
    counts |= {"error_rate_min_trades", "error_count", "landed_failures", "slow_broadcast_trades"}
    counts |= {"probe_trades", "probe_successes"}
    percentiles = {f"percentile_{urgency}" for urgency in ("low", "normal", "high", "critical")}
    amounts = {"max_amount", "max_amount_per_day", "max_amount_per_source_per_day", "max_loss_per_day"}
    assert unnamed == counts | percentiles | amounts


def _value(config: object, path: KeyPath) -> object:
    for part in path:
        config = config[part] if isinstance(config, tuple) and isinstance(part, int) else getattr(config, str(part))
    return config


def test_the_repository_shows_the_shipped_file() -> None:
    """The config.toml that a reader of the repository finds is the one in the package."""
    assert (Path(__file__).parents[1] / "config.toml").read_text() == SHIPPED


def test_a_node_is_enough() -> None:
    """Everything else has a default; a whole number of seconds is one."""
    config = read(NODE + "[confirmation]\ntimeout_seconds = 12\n")
    assert config.confirmation.timeout_seconds == 12.0
    assert isinstance(config.confirmation.timeout_seconds, float)
    assert config.solana.nodes == (NodeSettings(name="main", url="https://node.example"),)
    assert config.fees == FeeSettings()


def test_arrays_may_be_written_inline() -> None:
    """The other way in which TOML writes an array of tables means the same; its problems get the line of the array."""
    assert read('solana.nodes = [{ name = "main", url = "https://node.example" }]') == read(NODE)
    (found,) = problems('[solana]\nnodes = [{ name = "main", url = "https://node.example" },\n{ name = "b" }]')
    assert found.startswith("config.toml:2: solana.nodes[2].url: missing")


def test_mints_are_addresses() -> None:
    """A mint is read as an address, not kept as text."""
    assert read(SHIPPED).tokens[0].mint == Pubkey.from_string("So11111111111111111111111111111111111111112")


def test_variables_in_urls_come_from_the_environment() -> None:
    """${NAME} in a URL is replaced, several times if need be."""
    text = '[jupiter]\nurl = "https://j/${B}"\n[[solana.nodes]]\nname = "a"\nurl = "https://${A}.example/${B}?x=$${B}"\n'
    config = read(text, {"A": "host", "B": SECRET})
    assert config.solana.nodes[0].url == f"https://host.example/{SECRET}?x=${SECRET}"
    assert config.jupiter.url == f"https://j/{SECRET}"


def test_an_endpoint_shows_no_credential() -> None:
    """What logs and errors call a node or Jupiter is its host, and neither repr nor the endpoint holds the rest of the URL."""
    node = NodeSettings(name="main", url=f"https://user:{SECRET}@node.example:8899/{SECRET}?api-key={SECRET}")
    jupiter = JupiterSettings(url=f"https://jupiter.example/{SECRET}/v1")
    assert node.endpoint == "https://node.example:8899"
    assert jupiter.endpoint == "https://jupiter.example"
    assert SECRET not in repr(node) + repr(jupiter)


def test_all_problems_are_reported_at_once_in_order() -> None:
    """One run tells everything that is wrong, each with line, key, what is wrong, what was found and what is allowed."""
    text = """\
[grpc]
listen_adress = "127.0.0.1:50051"
[daemon]
log_level = "loud"
[[solana.nodes]]
name = "a"
url = "https://${MISSING}/"
[limits]
max_slippage_bps = 10_001
max_trades_in_flight = true
[fees]
min_priority_fee_lamports = 20_000
[[tokens]]
symbol = "SOL"
[wallets]
"""
    assert problems(text) == (
        "config.toml:2: grpc.listen_adress: unknown key, did you mean listen_address?",
        "config.toml:4: daemon.log_level: wrong form, found 'loud' (a string), allowed is debug or info or warning or error",
        "config.toml:7: solana.nodes[1].url: the environment variable MISSING is not set, found ${MISSING}, "
        "allowed is a variable that is set",
        "config.toml:9: limits.max_slippage_bps: out of range, found 10001 (an integer), allowed is an integer from 0 to 10000",
        "config.toml:10: limits.max_trades_in_flight: wrong type, found true (a boolean), allowed is an integer from 1 to 100000",
        "config.toml:12: fees.min_priority_fee_lamports: too large, found 20000, "
        "allowed is at most fees.max_priority_fee_lamports, which is 10000",
        "config.toml:13: tokens[1].max_amount: missing, allowed is an integer from 1 to 18446744073709551615",
        "config.toml:13: tokens[1].mint: missing, allowed is an address: 32 bytes in base58",
        "config.toml:15: wallets: unknown key, did you mean wallet?",
    )


@pytest.mark.parametrize("text", ["", "solana = {}", "[solana]\nnodes = []"])
def test_a_node_must_be_named(text: str) -> None:
    """Without a node there is nothing to start for."""
    (found,) = problems(text)
    assert "solana.nodes: missing, found none" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\npre_send_budget_seconds = 0", "out of range, found 0 (an integer)"),
        ("[limits]\npre_send_budget_seconds = -1.5", "out of range, found -1.5 (a float)"),
        ("[limits]\npre_send_budget_seconds = nan", "out of range, found nan"),
        ("[limits]\npre_send_budget_seconds = inf", "out of range, found inf"),
        ("[limits]\npre_send_budget_seconds = false", "wrong type, found false (a boolean)"),
        ("[jupiter]\ntimeout_seconds = 600.1", "out of range"),
        ('[jupiter]\ntimeout_seconds = "2"', "wrong type, found '2' (a string)"),
        ("[jupiter]\ntimeout_seconds = 2020-01-01", "wrong type, found a date or a time"),
        ("[jupiter]\nplatform_fee_bps = 256", "out of range"),
        ("[jupiter]\nplatform_fee_bps = 1.0", "wrong type, found 1.0 (a float)"),
        ("[jupiter]\nplatform_fee_bps = [1]", "wrong type, found an array"),
        ("[jupiter]\nuse_shared_accounts = 1", "wrong type, found 1 (an integer), allowed is true or false"),
        ("[retry]\nmax_retries = -1", "out of range"),
        (f"[retry]\nmax_retries = 0x{'f' * 9_000}", "out of range, found an integer of 36000 bits"),
        (f'[daemon]\nlog_level = "{"x" * 1_000}"', f"found '{'x' * 60}...' (a string)"),
        ("[daemon]\nlog_level = 1", "wrong type"),
        ('[daemon]\ndata_directory = ""', "wrong form"),
        ('[grpc]\nlisten_address = "127.0.0.1"', "wrong form"),
        ('[grpc]\nlisten_address = "127.0.0.1:65536"', "wrong form"),
        ("[confirmation]\nresend_seconds = 0.05", "out of range"),
        ("[confirmation]\npoll_initial_seconds = 1.5", "at most confirmation.poll_max_seconds, which is 1.0"),
        ("[confirmation]\npoll_max_seconds = 0.05", "poll_initial_seconds: too large, found 0.1"),
        ("[confirmation]\npoll_initial_seconds = 0.5\nresend_seconds = 0.4", "at most confirmation.resend_seconds, which is 0.4"),
        ("[fees]\npercentile_low = 76", "at most fees.percentile_normal, which is 75"),
        ("[fees]\npercentile_critical = 89", "percentile_high: too large, found 90"),
        ("[fees]\nmax_priority_fee_lamports = 999", "min_priority_fee_lamports: too large, found 1000"),
        ("[solana]\nmax_blockhash_age_seconds = 0.5", "blockhash_refresh_seconds: too large"),
        ('[[tokens]]\nsymbol = "A"\nmint = "0OIl"\nmax_amount = 1', "not an address, found '0OIl'"),
        ('[[tokens]]\nsymbol = "A"\nmint = 1\nmax_amount = 1', "wrong type"),
        (f'[[tokens]]\nsymbol = "A B"\nmint = "{Pubkey.default()}"\nmax_amount = 1', "wrong form"),
        (f'[[tokens]]\nsymbol = "A"\nmint = "{Pubkey.default()}"\nmax_amount = 0', "out of range"),
        ("[tokens]\nsymbol = 1", "wrong type, found a table, allowed is an array of tables, [[tokens]]"),
        ("[[fees]]", "wrong type, found an array, allowed is a table"),
        ("tokens = [1]", "tokens[1]: wrong type, found 1 (an integer), allowed is a table"),
        ("[strange]\nkey = 1", "strange: unknown key, allowed is grpc, daemon, wallet"),
        (f'[fees]\n"a key\\nwith {"x" * 100}" = 1', "fees.'a key\\nwith xxx"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(text: str, expected: str) -> None:
    """A wrong type, a value out of its range and values that contradict each other are each one problem."""
    # Bare keys belong above the first table of a document.
    found = problems(text + "\n" + NODE)[0] if text.startswith("tokens") else problem(text)
    assert expected in found


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:65535", "[::1]:50051", "unix:/run/executor.sock"])
def test_addresses_that_can_be_listened_on(address: str) -> None:
    """A port, any free port, IPv6 and a socket's path are kept as they were written."""
    assert read(f'{NODE}[grpc]\nlisten_address = "{address}"').grpc.listen_address == address


@pytest.mark.parametrize("url", ["http://127.0.0.1:8899", "https://u:p@host/path?query=1", "https://[::1]:1/", "http://host?x"])
def test_urls_that_can_be_called(url: str) -> None:
    """Paths, queries, user names and ports are allowed in a node's URL."""
    assert read(f'[[solana.nodes]]\nname = "a"\nurl = "{url}"').solana.nodes[0].url == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "host:8899",
        "https://",
        "https://host:0",
        "https://host:65536",
        "https://ho st",
        "https://h/${x y}",
        "https://h/#f",
    ],
)
def test_urls_that_cannot_be_called(url: str) -> None:
    """Another scheme, no host, an impossible port, white space, a fragment and a broken variable are refused, unseen."""
    (found,) = problems(f'[[solana.nodes]]\nname = "a"\nurl = "{url}"')
    assert "url: wrong form, found a string that is not shown here" in found


def test_duplicates_are_refused_with_both_places() -> None:
    """Two nodes with one name, or two tokens with one symbol or mint, are mistakes; capitals make no difference to people."""
    text = NODE + NODE.replace("main", "MAIN")
    for name, address in (("sol", Pubkey.new_unique()), ("SOL", Pubkey.default()), ("X", Pubkey.default())):
        text += f'[[tokens]]\nsymbol = "{name}"\nmint = "{address}"\nmax_amount = 1\n'
    node, symbol, mint = problems(text)
    assert node.startswith("config.toml:5: solana.nodes[2].name: duplicate, found MAIN as in line 2")
    assert symbol.startswith("config.toml:12: tokens[2].symbol: duplicate, found SOL as in line 8")
    assert mint.startswith(f"config.toml:17: tokens[3].mint: duplicate, found {Pubkey.default()} as in line 13")


@pytest.mark.parametrize("environment", [{}, {"A": "", "B": ""}])
def test_missing_variables_are_all_named(environment: Mapping[str, str]) -> None:
    """Each variable that is not set, or empty, is one problem, however often the URL holds it."""
    first, second = problems('[[solana.nodes]]\nname = "a"\nurl = "https://${A}/${B}/${A}"', environment)
    assert "environment variable A is not set" in first
    assert "environment variable B is not set" in second


@pytest.mark.parametrize(
    "value", [SECRET, f"https://h/{SECRET} {SECRET}", f"https://{SECRET}@", f"ftp://{SECRET}", f"https://h/\n{SECRET}"]
)
def test_no_problem_shows_a_secret(value: str) -> None:
    """A URL is never quoted, neither as it stands in the file nor as the environment completes it."""
    for text, environment in (('"${RPC}"', {"RPC": value}), (f"'''{value}'''", {})):
        found = "".join(problems(f'[[solana.nodes]]\nname = "${{RPC}}"\nurl = {text}', environment))
        assert "url: wrong form" in found
        assert SECRET not in found


@pytest.mark.parametrize(
    "setting",
    [
        f'[wallet]\nkeypair_path = "{Keypair()}"',
        f'[wallet]\nkeypair_path = "{list(bytes(Keypair()))}"',
        '[jupiter]\napi_key_env = "0f8fad5b-d9cb-469f-a165-70867728950e"',
        '[jupiter]\napi_key_env = "abcdef0123456789"',
    ],
)
def test_a_key_in_the_wrong_place_is_refused_unseen(setting: str) -> None:
    """Where the name of a file or a variable is asked for, the secret itself is recognised and not repeated."""
    secret = setting.split('"')[1]
    found = problem(setting)
    assert "found a string that is not shown here" in found
    assert secret[:8] not in found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = 1\nb = = 2\n", "config.toml:2: column 5: not TOML: "),
        ("a = [\n", "config.toml:2: column 1: not TOML: "),
        ("[a]\n[a]\n", "config.toml:2: column 3: not TOML: "),
        ("a = " + "[" * 20_000, "config.toml:1: column 1: not TOML: nested too deeply"),
        ("a = " + "1" * 5_000, "config.toml:1: column 1: not TOML: "),
    ],
)
def test_what_is_not_toml_is_one_problem_with_its_place(text: str, place: str) -> None:
    """A mistake of syntax hides all others; it is reported alone, with line and column."""
    (found,) = problems(text)
    assert found.startswith(place)


def test_the_environment_of_this_process_is_not_read() -> None:
    """Only what is handed in counts."""
    os.environ["EXECUTOR_TEST_NAME"] = "x"
    try:
        assert problems('[[solana.nodes]]\nname = "a"\nurl = "https://${EXECUTOR_TEST_NAME}"')
    finally:
        del os.environ["EXECUTOR_TEST_NAME"]


def survives(text: str) -> None:
    """Load a text; whatever is wrong with it is a list of problems, each with its place."""
    try:
        read(text)
    except ConfigError as error:
        refused = error.problems
    else:
        return
    assert refused
    assert all(re.match(r"config\.toml:[0-9]+: [^\n]+$", one) for one in refused)


@given(st.data())
def test_a_damaged_file_never_raises_anything_else(data: st.DataObject) -> None:
    """Cut, doubled or overwritten anywhere, a file loads or is refused with ConfigError."""
    start = data.draw(st.integers(0, len(SHIPPED)))
    end = data.draw(st.integers(start, min(len(SHIPPED), start + 80)))
    inserted = data.draw(
        st.text(max_size=20) | st.sampled_from(["[[", "]", '"""', "'''", "\n[", "=", "{", "\\", "true", "1e999", "SOL"])
    )
    survives(SHIPPED[:start] + inserted + SHIPPED[end:])


TOML_VALUES = [
    "true",
    "-1",
    "0",
    "1e400",
    "nan",
    "0.5",
    "18446744073709551616",
    '""',
    '"x"',
    '"${X}"',
    "[]",
    "[[]]",
    "{}",
    "{ a = 1 }",
    "07:32:00",
]


@given(
    st.sampled_from([line for line in SHIPPED.splitlines() if "=" in line and not line.startswith("#")]),
    st.sampled_from(TOML_VALUES),
)
def test_any_value_for_any_key_is_read_or_refused(line: str, value: str) -> None:
    """Whatever stands where, the answer is a configuration or a list of problems."""
    text = SHIPPED.replace(line, f"{line.split('=')[0]}= {value}", 1)
    tomllib.loads(text)
    survives(text)
