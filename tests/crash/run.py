"""The killer: a real daemon on a real disk, killed again and again in the middle of its trades, and judged at the end.

One localnet runs throughout. Every round starts the daemon on the journal that the one before it has left, lets callers repeat
what they have no answer to and ask for more, and kills it at the round's point. In the end one daemon lives until everything is
resolved; then the checker reads what callers were told, the journal's file and the chain.
"""

import argparse
import json
import re
import secrets
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from attrs import define, evolve, field, frozen
from solders.keypair import Keypair

from executor.rpc import trade_executor_pb2 as pb
from tests.chaos.chain_facts import landings_of_localnet
from tests.chaos.checker import Kind, Row, Verdict, Word, check
from tests.crash import points
from tests.crash.book import Book
from tests.crash.life import STOP_SECONDS, Life, born
from tests.crash.plan import BASE_AMOUNTS, KEEPS_IN_FLIGHT, Planned, Round, plan_round
from tests.support.callers import Caller, Refused, make_request
from tests.support.localnet import BY_SYMBOL, Localnet, start_localnet
from tests.support.settings import QUICK, Place, Section

CHILD = ("tests.crash.child",)
NEVER = 1_000_000_000
SLOT_MS = 50
ROUGH = ("--skip-rate", "0.05", "--fork-rate", "0.02")
"""Slots without a block, and blocks that are dropped before they are confirmed, as on mainnet."""
EXPIRY_SLOTS = 160
EXPIRY_AFTER_SECONDS = 0.3
ROUND_SECONDS = 2.5
"""A daemon that has not come by its point by then is killed where it stands."""
LOOK_SECONDS = 0.01
CALL_SECONDS = 10.0
RESOLVE_SECONDS = 60.0
OPEN_TRADES = 3
"""So many at least are left behind for a recovery that is to be interrupted."""
MAX_CALLS = 64
ASKED_AFTERWARDS = 4
"""So many of the newest final answers are asked for again in each round."""
ASKED_AGAIN = 1
"""And so many of the newest that were refused are asked anew: they begin another life."""
FUNDS = {"USDC": 3_000, "JitoSOL": 15, "RAY": 500, "BONK": 1_000}
FUNDS_LAMPORTS = 30 * 10**9
KEPT_LAMPORTS = 20_000_000
"""Of the last trade of SOL: the reserve that stays in the wallet, fees and rent."""
SWEEPS = (("USDC", "SOL"), ("RAY", "SOL"), ("JitoSOL", "SOL"), ("SOL", "USDC"))
"""In the end all that there is of each token is traded, in one trade."""
SETTINGS: Mapping[str, Section] = {
    "daemon": {"drain_timeout_seconds": 0.3, "log_level": "info"},
    "solana": {"request_timeout_seconds": 0.4},
    "confirmation": {"timeout_seconds": 1.0},
    # Most trades fail here, by order: that is no reason to halt.
    "breaker": {"error_rate_percent": 0, "landed_failures": 0, "slow_broadcast_p99_seconds": 0},
}


@frozen(kw_only=True)
class Score:
    """What a run has come to."""

    seed: int
    rounds: int
    crashes: int
    faults: int
    verdict: Verdict
    leaks: tuple[str, ...]
    """What was still held when nothing was in flight any more."""
    ends: tuple[str, ...]
    """Daemons that ended otherwise than by being killed or told to."""
    reached: Mapping[str, int]
    """How often each point was reached."""
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        return [*map(str, self.verdict.violations), *self.leaks, *self.ends]

    @property
    def missed(self) -> list[str]:
        """Points that were never reached."""
        return [point for point in points.ALL if not self.reached.get(point)]

    def as_dict(self) -> dict[str, object]:
        """As JSON's types; the issue's figures first."""
        return {
            "rounds": self.rounds,
            "trades": self.verdict.trades,
            "crashes": self.crashes,
            "faults": self.faults,
            **{kind.value: self.verdict.count(kind) for kind in Kind},
            "leaked_reservations": len(self.leaks),
            "unexpected_ends": len(self.ends),
            "succeeded": self.verdict.succeeded,
            "landed": self.verdict.landed,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "points": {point: self.reached.get(point, 0) for point in points.ALL},
        }


@define
class Arena:
    """What a run works with."""

    chain: Localnet
    place: Place
    wallet: Keypair
    pool: ThreadPoolExecutor
    child: Sequence[str]
    """The module that wraps a daemon which kills itself, and words for it."""
    book: Book = field(factory=Book)
    reached: Counter[str] = field(factory=Counter)
    crashes: int = 0
    faults: int = 0
    ends: list[str] = field(factory=list)

    def life(self, name: str, plan: Round | None = None) -> AbstractContextManager[Life]:
        """Start a daemon on what the others have left; without a plan it does not kill itself."""
        folder = self.place.folder
        mark, point, count, when = folder / f"mark-{name}", points.RECOVERY[0], NEVER, points.FROM_THE_START
        if plan is not None and plan.point in points.IN_THE_CHILD:
            point, count, when = plan.point, plan.count, plan.when
        module = [*self.child, point, str(count), when, str(mark)]
        return born(folder / "config.toml", log=folder / f"log-{name}", mark=mark, module=module)

    def ask(self, caller: Caller, planned: Planned, *, callers: int = 1) -> "list[Future[None]]":
        """Let callers make a request, all at the same time."""
        return [self.pool.submit(self._ask, caller, planned) for _ in range(callers)]

    def look_up(self, caller: Caller, planned: Planned) -> "list[Future[None]]":
        """Ask for what is known already, both ways: no restart may change it."""
        get = self.pool.submit(self._note, planned, lambda: caller.get(planned.request_id, seconds=CALL_SECONDS))
        return [get, *self.ask(caller, planned)]

    def _ask(self, caller: Caller, planned: Planned) -> None:
        request = make_request(
            planned.request_id,
            planned.source,
            planned.target,
            0,
            amount_lamports=planned.amount,
            expected_price=planned.expected_price,
            max_slippage_bps=planned.max_slippage_bps,
        )
        self._note(planned, lambda: caller.execute(request, seconds=CALL_SECONDS))

    def _note(self, planned: Planned, call: Callable[[], pb.TradeResult]) -> None:
        asked_after = self.book.answers(planned.request_id)
        try:
            self.book.note(planned.request_id, call(), asked_after=asked_after)
        except Refused as refused:
            self.book.note(planned.request_id, refused, asked_after=asked_after)


# --- a round ------------------------------------------------------------------------------------------------------------------


def play(arena: Arena, plan: Round) -> None:
    """One round; in a round of the recovery a life before it leaves trades that have to be taken up."""
    if plan.point in points.RECOVERY:
        first = evolve(plan, point="before sending again", count=OPEN_TRADES, when=points.ONCE_READY, faults=(KEEPS_IN_FLIGHT,))
        _live(arena, first, name=f"{plan.number}-before")
        plan = evolve(plan, requests=())
    _live(arena, plan, name=str(plan.number))
    if plan.slots_without_daemon:
        arena.chain.advance(plan.slots_without_daemon)


def _live(arena: Arena, plan: Round, *, name: str) -> None:
    """One life of the daemon, from what the one before it has left to its death."""
    with _faults(arena, plan), arena.life(name, plan) as life:
        if plan.point == points.AT_START:
            time.sleep(plan.after_seconds)
            life.kill()
        address = life.address()
        if address is not None:
            with life.caller(address) as caller:
                _trade(arena, plan, life, caller)
        else:
            life.process.wait(STOP_SECONDS)
    _count(arena, plan, life)


def _trade(arena: Arena, plan: Round, life: Life, caller: Caller) -> None:
    """Repeat what has no answer, ask for more, and wait for the death."""
    began = time.monotonic()
    calls = [call for planned in arena.book.unsettled() for call in arena.ask(caller, planned)]
    calls += [call for planned in arena.book.last_final(ASKED_AFTERWARDS) for call in arena.look_up(caller, planned)]
    calls += [call for planned in arena.book.last_refused(ASKED_AGAIN) for call in arena.ask(caller, planned)]
    for planned in plan.requests:
        arena.book.open(planned)
        calls += arena.ask(caller, planned, callers=planned.callers)
    if plan.expires:
        time.sleep(EXPIRY_AFTER_SECONDS)
        arena.chain.advance(EXPIRY_SLOTS)
    if plan.drains or plan.point == points.AT_RANDOM:
        time.sleep(plan.after_seconds)
        (life.drain if plan.drains else life.kill)()
    while not life.is_over() and time.monotonic() - began < ROUND_SECONDS and (plan.drains or not _done(calls)):
        time.sleep(LOOK_SECONDS)
    if not plan.drains or not life.is_over():
        life.kill()
    wait(calls)


def _done(calls: "Sequence[Future[None]]") -> bool:
    return all(call.done() for call in calls)


@contextmanager
def _faults(arena: Arena, plan: Round) -> Iterator[None]:
    """Order a round's faults; count those that struck, and withdraw the rest."""
    for fault in plan.faults:
        arena.chain.order(**{"target": "node", **fault})  # type: ignore[arg-type]  # a fault's fields are what `order` takes
    try:
        yield
    finally:
        left = sum(order["left"] or 0 for order in arena.chain.orders())
        arena.faults += sum(_count_of(fault) for fault in plan.faults) - left
        arena.chain.clear()


def _count_of(fault: Mapping[str, object]) -> int:
    """How often it may strike; one that stands as long as the round counts as one."""
    count = fault["count"]
    return count if isinstance(count, int) else 1


def _count(arena: Arena, plan: Round, life: Life) -> None:
    code = life.process.returncode
    arena.crashes += code == -signal.SIGKILL
    if life.reached or plan.point in (points.AT_START, points.AT_RANDOM):
        arena.reached[plan.point] += 1
    if code not in (0 if plan.drains else -signal.SIGKILL, -signal.SIGKILL):
        arena.ends.append(f"the daemon of round {plan.number} ended with exit code {code}: see {life.log}")


# --- the end ------------------------------------------------------------------------------------------------------------------


def resolve(arena: Arena) -> list[str]:
    """One daemon lives until everything has its outcome; returns what is still held then, in words."""
    with arena.life("end") as life:
        address = life.address()
        if address is None:
            return [f"the last daemon did not start: see {life.log}"]
        with life.caller(address) as caller:
            _settle(arena, caller)
            leaks = [*_sweep(arena, caller), *_in_flight(caller)]
        life.drain()
        if life.process.wait(STOP_SECONDS):
            arena.ends.append(f"the last daemon ended with exit code {life.process.returncode}: see {life.log}")
    return leaks


def _settle(arena: Arena, caller: Caller) -> None:
    """Repeat every call until it has a final answer; then nobody asks any more, and the daemon finishes by itself."""
    deadline = time.monotonic() + RESOLVE_SECONDS
    while (unsettled := arena.book.unsettled()) and time.monotonic() < deadline:
        wait([call for planned in unsettled for call in arena.ask(caller, planned)])
        time.sleep(LOOK_SECONDS)
    while caller.status().trades_in_flight and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def _sweep(arena: Arena, caller: Caller) -> Iterator[str]:
    """Trade a little of each token, and then all that there is: whatever the daemon still holds would be missing."""
    wait([call for source, target in SWEEPS for call in _open_and_ask(arena, caller, "little", source, target)])
    for source, target in SWEEPS:
        wait(_open_and_ask(arena, caller, "all", source, target))
    for request in arena.book.requests():
        if request.request_id.startswith("all-") and request.told[-1].word is not Word.SUCCESS:
            yield f"{request.request_id}: {request.swap.in_amount} cannot be traded: {request.told[-1].code}"


def _open_and_ask(arena: Arena, caller: Caller, name: str, source: str, target: str) -> "list[Future[None]]":
    holdings = arena.chain.holdings(arena.wallet.pubkey())
    rest = holdings.lamports - KEPT_LAMPORTS if source == "SOL" else holdings.tokens[source]
    amount = BASE_AMOUNTS[source] if name == "little" else rest
    planned = Planned(request_id=f"{name}-{source}", source=source, target=target, amount=amount)
    arena.book.open(planned)
    return arena.ask(caller, planned)


def _in_flight(caller: Caller) -> Iterator[str]:
    count = caller.status().trades_in_flight
    if count:
        yield f"{count} trades are still in flight"


def read_journal(path: Path) -> list[Row]:
    """Every row of a journal that nobody writes any more; none where no daemon has ever come so far."""
    if not path.exists():
        return []
    query = "SELECT seq, request_id, state, at_unix_ns, signature, body FROM entries ORDER BY seq"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return [
            Row(seq=seq, request_id=request_id, state=state, at_unix_ns=at_unix_ns, signature=signature, body=body)
            for seq, request_id, state, at_unix_ns, signature, body in connection.execute(query)
        ]


# --- a run --------------------------------------------------------------------------------------------------------------------


def run_rounds(plans: Iterable[Round], *, seed: int, folder: Path, child: Sequence[str] = CHILD) -> Score:
    """Play these rounds and judge them. What is in the folder afterwards is the caller's."""
    began, rounds = time.monotonic(), 0
    with (
        start_localnet(slot_ms=SLOT_MS, nodes=len(points.NODES), seed=seed, extra=ROUGH) as chain,
        ThreadPoolExecutor(MAX_CALLS) as pool,
    ):
        wallet = _funded_wallet(chain)
        place = Place(folder=folder, nodes=chain.nodes, jupiter=chain.jupiter)
        place.write_wallet(wallet)
        (folder / "config.toml").write_text(place.config_text(**_settings()))
        arena = Arena(chain=chain, place=place, wallet=wallet, pool=pool, child=child)
        for plan in plans:
            play(arena, plan)
            rounds += 1
        leaks = resolve(arena)
        chain.advance(3)
        verdict = check(
            requests=arena.book.requests(),
            rows=read_journal(place.journal_path),
            landings=landings_of_localnet(chain.admin, wallet.pubkey()),
        )
    return Score(
        seed=seed,
        rounds=rounds,
        crashes=arena.crashes,
        faults=arena.faults,
        verdict=verdict,
        leaks=tuple(leaks),
        ends=tuple(arena.ends),
        reached=arena.reached,
        seconds=time.monotonic() - began,
    )


def _funded_wallet(chain: Localnet) -> Keypair:
    """A wallet whose funds are confirmed: the block that brings them may be dropped, like every other."""
    amounts = {symbol: whole * 10 ** BY_SYMBOL[symbol].decimals for symbol, whole in FUNDS.items()}
    while True:
        wallet = chain.new_wallet(lamports=FUNDS_LAMPORTS, tokens=amounts)
        if chain.holdings(wallet.pubkey()).lamports:
            return wallet


def _settings() -> Mapping[str, Section]:
    return {name: {**QUICK.get(name, {}), **section} for name, section in SETTINGS.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="how often the daemon is killed (default 20)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the rounds; by default another one each time")
    parser.add_argument("--from-round", type=int, default=0, metavar="N", help="begin there: to look at one round again")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on stdout")


def main(words: Sequence[str]) -> int:
    """Run the command of these words; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chaos crash", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(words))


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code. The folder of a run that failed is kept."""
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="executor-crash-"))
    numbers = range(arguments.from_round, arguments.from_round + arguments.rounds)
    score = run_rounds([plan_round(seed, number) for number in numbers], seed=seed, folder=folder)
    problems = [*score.problems, *_unreached(score)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"journal and logs are kept in {folder}; a request's name begins with its round", file=sys.stderr)
        for number in _rounds_of(problems) or [arguments.from_round]:
            print(f"to see round {number} again: {_replay(seed, number)}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    _tell(score, as_json=arguments.json)
    return 1 if problems else 0


def _rounds_of(problems: Iterable[str]) -> list[int]:
    """Whose requests are named, or whose daemon."""
    named = (match for problem in problems for match in re.findall(r"\br(\d+)-|\bround (\d+)\b", problem))
    return sorted({int(of_request or of_daemon) for of_request, of_daemon in named})


def _replay(seed: int, number: int) -> str:
    """With the round before, whose journal it began with, and the one after, which took up what it has left."""
    first = max(number - 1, 0)
    return f"scripts/chaos crash --seed {seed} --from-round {first} --rounds {number - first + 2}"


def _unreached(score: Score) -> list[str]:
    """In a run in which each point had its turn several times, one that was never reached is a point that does not work."""
    if score.rounds < 3 * len(points.ALL):
        return []
    return [f"no daemon has ever died {point}" for point in score.missed]


def _tell(score: Score, *, as_json: bool) -> None:
    figures = score.as_dict()
    if as_json:
        print(json.dumps(figures))
        return
    for point, count in score.reached.items():
        print(f"{count:5} {point}")
    print(" ".join(f"{name}={value}" for name, value in figures.items() if name != "points"))
