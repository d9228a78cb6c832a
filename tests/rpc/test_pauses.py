"""The collector's pauses, in a process of its own: what is done to the collector lasts as long as the process."""

import subprocess
import sys

PROGRAM = """
import gc
from executor.rpc.pauses import FULL_COLLECTION_EVERY, shorten_pauses
old = gc.get_threshold()
shorten_pauses()
assert gc.get_freeze_count() > 1000
assert gc.get_threshold() == (*old[:2], FULL_COLLECTION_EVERY)
"""


def test_what_is_there_is_not_looked_at_again() -> None:
    """All objects that exist are left alone from then on, and full collections become rare."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
