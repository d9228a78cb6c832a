"""The demo for people: a line for each trade as it ends, and what it comes to. Nothing is wider than 100 columns."""

import textwrap
from collections.abc import Mapping
from typing import TextIO

from attrs import define, field, frozen

from executor.cli.demo.cases import Case
from executor.cli.demo.plan import BOUGHT_SYMBOL
from executor.cli.demo.rows import HEAD, outcome, row, told
from executor.cli.demo.show import Settings
from executor.cli.demo.stage import FUNDED_CENTS, FUNDED_LAMPORTS, Stage
from executor.cli.demo.summary import Summary
from executor.cli.demo.trades import Trade
from executor.units import LAMPORTS_PER_SOL

WIDTH = 100
MAINNET_SLOT_MS = 400
BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"
LEGEND = (
    "sec: since the first trade began. slip: slippage against the quote in bps, negative when better. fee: lamports, to the "
    "network. sent: ms from the request to the first byte on its way to the node. conf: ms from there until confirmed."
)
NEXT = {
    "serve --localnet": "a localnet and the daemon, until Ctrl-C",
    "trade SOL USDC 0.25": "one swap, from another terminal",
    "status": "how the daemon is: balances, latencies, nodes",
    "demo --json": "this demo, for programs",
}


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Only on a terminal, and never against the wish of NO_COLOR (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


@frozen(kw_only=True)
class Scene:
    """What is played, and where."""

    title: str
    place: str
    starting: str


LOCALNET_SCENE = Scene(
    title="Live trade executor: a demo",
    place="a Solana cluster of this machine's own",
    starting="Starting the localnet and the daemon ...",
)


@define
class Page:
    """Prints to `out`."""

    out: TextIO
    settings: Settings
    coloured: bool = False
    program: str = "executor"
    """How the reader calls it."""
    scene: Scene = LOCALNET_SCENE
    _special: list[tuple[Case, Trade]] = field(factory=list)

    def opens(self) -> None:
        """Say what is going to happen."""
        settings = self.settings
        pace = f"{settings.slot_ms} ms" + (f" (mainnet: {MAINNET_SLOT_MS})" if settings.slot_ms != MAINNET_SLOT_MS else "")
        self._say(self._in(self.scene.title, BOLD))
        self._wrap(
            f"{settings.swaps} swaps over six tokens that have to succeed and four trades that must not, {settings.concurrency} "
            f"at a time, on {self.scene.place} with slots of {pace}. Nothing leaves this machine."
        )
        self._say("", self.scene.starting)

    def begins(self, stage: Stage) -> None:
        """Say where everything is, and head the table."""
        funds = f"{FUNDED_LAMPORTS // LAMPORTS_PER_SOL:,} SOL, {FUNDED_CENTS // 100:,} dollars' worth of each of the others"
        self._say(
            f"  {stage.network.name:<10}{stage.network.node_url}, Jupiter's API at {stage.network.jupiter_url}",
            f"  daemon    {stage.address} (gRPC)",
            f"  wallet    {stage.wallet}",
            f"            {funds}, but no {BOUGHT_SYMBOL}",
            "",
            self._in(HEAD, BOLD),
        )

    def sees(self, trade: Trade) -> None:
        """Print its line."""
        word, mark = outcome(trade), ""
        if trade.planned.case is not None:
            self._special.append((trade.planned.case, trade))
            mark = f" ({len(self._special)})"
        colour = RED if trade.surprises() or trade.mismatches() else GREEN if word == "success" else YELLOW
        self._say(f"{row(trade)}{self._in(word, colour)}{mark}")

    def leaves(self, summary: Summary) -> None:
        """Explain the five, sum up, and say how to go on."""
        self._say("")
        self._wrap(LEGEND)
        self._say("", self._in("The five that were meant to go differently", BOLD))
        for number, (case, trade) in enumerate(self._special, start=1):
            self._wrap(f"({number}) {case.facts.title}: {case.facts.story}", indent="  ", then="      ")
            self._wrap(f"-> {told(trade)}", indent="      ", then="         ")
        self._say("", self._in("What it comes to", BOLD))
        self._sum_up(summary)
        self._say("", self._in("How to go on", BOLD))
        width = len(self.program) + max(map(len, NEXT)) + 3
        self._say(*(f"  {f'{self.program} {command}':<{width}}{meaning}" for command, meaning in NEXT.items()))

    def _sum_up(self, summary: Summary) -> None:
        broadcast = f"p50 {summary.p50_broadcast_ms:.0f} ms, p99 {summary.p99_broadcast_ms:.0f} ms"
        confirmation = f"p50 {summary.p50_confirmation_ms:.0f} ms, p99 {summary.p99_confirmation_ms:.0f} ms"
        lines = {
            "trades": f"{summary.trades} in {summary.seconds:.1f} s: {summary.success} succeeded, {summary.failed} failed, "
            f"{summary.refused} refused, {summary.pending} pending" + ("" if summary.problems else ": each as it should"),
            "sent": f"{broadcast} after the request came",
            "confirmed": f"{confirmation} after that",
            "paid": f"{summary.fees_lamports:,} lamports to the network, {summary.rent_lamports:,} as rent into new accounts",
            "amounts": _amounts_sentence(summary),
            "wallet": _wallet_sentence(summary),
            "daemon": "ended on SIGTERM with exit code 0, and left no process behind",
        }
        for name, text in lines.items():
            self._wrap(f"{name:<11}{text}", indent="  ", then=" " * 13)

    def _say(self, *lines: str) -> None:
        print(*lines, sep="\n", file=self.out, flush=True)

    def _wrap(self, text: str, *, indent: str = "", then: str = "") -> None:
        self._say(*textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=then))

    def _in(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured else text


def _amounts_sentence(summary: Summary) -> str:
    if summary.amount_mismatches:
        return f"{summary.amount_mismatches} trades report other amounts or fees than the chain's own balances"
    return "every amount and fee that was reported is what the chain's own balances say, to the unit"


def _wallet_sentence(summary: Summary) -> str:
    if summary.wallet_unexplained:
        return f"it holds what no result explains: {'; '.join(summary.wallet_unexplained)}"
    return "before and after differ by exactly what all results together say"
