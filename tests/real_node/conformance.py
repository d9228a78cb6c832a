"""Ask the localnet and Agave's test validator the same questions, and say where they answer otherwise.

Exit code 0: they differ only in what is listed with a reason, and everything that is listed occurs; 1: they do not; 2: there is
no validator here.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from executor.cli.demo.children import EXECUTOR, Children
from executor.cli.demo.failure import DemoFailed
from executor.cli.demo.interruption import Interruption
from executor.cli.demo.rehearsal import EXPORT_FOLDER, Bank, bank_key, export_genesis
from executor.cli.demo.stage import START_SECONDS
from executor.cli.demo.validator import NoValidator, Validator, find_validator, start_validator
from executor.cli.demo.web import fetch
from executor.localnet.tokens import BERN, USDC
from tests.real_node.compare import Outcome, hold_conversation
from tests.real_node.differences import ACCEPTED, as_markdown

EXIT_FAILED, EXIT_NO_VALIDATOR, EXIT_INTERRUPTED = 1, 2, 130
SEED = 1
SLOT_MS = 100
QUIET = ("--no-trader", "--skip-rate", "0", "--finalized-after", "140")
"""Nobody else trades, and a block is final as late as on the validator: after 14 s."""
FUNDED_LAMPORTS = 10 * 10**9
FUNDED_TOKENS = {str(USDC.mint): USDC.raw(100), str(BERN.mint): BERN.raw(1_000)}


def check(children: Children, validator: Validator) -> Outcome:
    """Hold the conversation with a fresh localnet and a validator in whose pools nobody has traded. Raises DemoFailed."""
    options = ["--json", "--rpc-port", "0", "--jupiter-port", "0", "--slot-ms", str(SLOT_MS), "--seed", str(SEED)]
    localnet = children.start("localnet", [*EXECUTOR, "localnet", *options, *QUIET])
    facts = localnet.announcement(START_SECONDS)
    localnet_url = facts["nodes"][0]["url"]
    bank = bank_key(validator)
    _fund_bank(facts["admin"], validator)
    payer = Keypair()
    for url in (validator.url, localnet_url):  # the slower one first: then neither is final when the conversation begins
        Bank(node_url=url, keypair=bank).pay(payer.pubkey(), lamports=FUNDED_LAMPORTS, tokens=FUNDED_TOKENS)
    return hold_conversation(localnet_url, validator.url, payer)


def _fund_bank(admin_url: str, validator: Validator) -> None:
    """Give the localnet's bank what the validator's has in its genesis."""
    manifest = validator.manifest
    mints = {token["symbol"]: token["mint"] for token in manifest["tokens"]}
    (bank,) = (wallet for wallet in manifest["wallets"] if wallet["name"] == "bank")
    tokens = {mints[symbol]: held["amount"] for symbol, held in bank["tokens"].items()}
    fetch(
        f"{admin_url}/fund", {"owner": str(Pubkey.from_string(bank["address"])), "lamports": bank["lamports"], "tokens": tokens}
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a difference and last a summary")
    parser.add_argument("--list", action="store_true", help="print the accepted differences for the documentation, and exit")
    arguments = parser.parse_args(argv)
    if arguments.list:
        print(as_markdown())
        return 0
    began = time.monotonic()
    try:
        outcome = _run()
    except DemoFailed as failure:
        print(f"scripts/conformance: {failure}", file=sys.stderr)
        return EXIT_NO_VALIDATOR if isinstance(failure, NoValidator) and not os.environ.get("CI") else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    (_tell_json if arguments.json else _tell)(outcome, round(time.monotonic() - began, 1))
    return 0 if outcome.holds else EXIT_FAILED


def _run() -> Outcome:
    with Interruption() as interruption, tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        with Children(folder, interruption) as children:
            program = find_validator(os.environ, unpack_into=folder)
            validator = start_validator(children, program, export_genesis(folder / EXPORT_FOLDER, seed=SEED))
            return check(children, validator)


def _tell_json(outcome: Outcome, seconds: float) -> None:
    for kind, found in (("unexplained", outcome.unexplained), ("accepted", outcome.accepted)):
        for difference in found:
            line = {"question": difference.question, "place": difference.place}
            print(json.dumps({"kind": kind, **line, "localnet": difference.localnet, "validator": difference.validator}))
    for entry in outcome.obsolete:
        print(json.dumps({"kind": "obsolete", "question": entry.question, "place": entry.place, "reason": entry.reason}))
    print(json.dumps({**_counts(outcome), "seconds": seconds, "ok": outcome.holds}))


def _tell(outcome: Outcome, seconds: float) -> None:
    for difference in outcome.unexplained:
        print(f"UNEXPLAINED  {difference}")
    for entry in outcome.obsolete:
        print(f"OBSOLETE  {entry.question} at {entry.place}: listed, but it does not occur\n    {entry.reason}")
    for entry in ACCEPTED:
        covered = {d.question for d in outcome.accepted if entry.covers(d.question, d.place)}
        if covered:
            print(f"accepted in {len(covered):>3} answers: {entry.question} at {entry.place}\n    {entry.reason}")
    figures = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in _counts(outcome).items())
    print(f"{figures}; {seconds:g} s")


def _counts(outcome: Outcome) -> dict[str, int]:
    return {
        "questions": outcome.questions,
        "equal": outcome.equal,
        "accepted_differences": len(outcome.accepted),
        "unexplained_differences": len(outcome.unexplained),
        "obsolete_entries": len(outcome.obsolete),
    }


if __name__ == "__main__":
    sys.exit(main())
