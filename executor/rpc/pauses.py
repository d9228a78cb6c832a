"""Python's own pauses: what its collector of cycles does while nobody is served."""

import gc

FULL_COLLECTION_EVERY = 25
"""Collections of the middle generation to one of all; Python's default is 10."""


def shorten_pauses() -> None:
    """Call once all that lives as long as the process is there.

    A full collection looks at every object, and stops everything for 20 ms and more. What is there now will not become garbage,
    and needs no looking at; nearly all the rest is freed without the collector, so that it may look less often.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_EVERY)
