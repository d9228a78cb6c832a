"""Run a Solana cluster, a Jupiter API and a market on this machine, for demos and tests. Nothing of it is worth anything.

The daemon cannot tell it from mainnet: point a node's url and jupiter.url at what this prints.
"""

import argparse

from executor.localnet import process

HELP = "run a Solana cluster and a Jupiter API on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    process.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return process.run(arguments)
