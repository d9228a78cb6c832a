"""Resume a daemon's trading, whatever halted it: an operator, failed trades, slow sends or losses. What is counted begins anew.

What is still wrong, such as nodes that do not answer, keeps trading halted until it is well.
Example: executor resume --why "the price feed is back"

Exit code 0: the word is taken, and the journal says so. 1: refused, or not known; `executor status` tells.
"""

import argparse

from executor.cli import halt

HELP = "resume a daemon's trading"
add_arguments = halt.add_arguments


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return halt.give_word(arguments, lambda client: client.resume(arguments.why, timeout_seconds=arguments.timeout))
