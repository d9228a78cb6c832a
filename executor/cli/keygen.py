"""Make a new wallet: a Solana CLI keypair file that only its owner can read. Never overwrites one."""

import argparse
import json

from executor.cli.output import say
from executor.wallet.keystore import create_keypair_file

HELP = "make a new wallet file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", help="where to write the key, for example ~/.config/solana/id.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    address = create_keypair_file(arguments.path)
    if arguments.json:
        say(json.dumps({"path": arguments.path, "address": str(address)}))
    else:
        warning = "Keep the file safe: whoever reads it owns what is in the wallet."
        say(f"wrote {arguments.path}", f"address {address}", warning)
    return 0
