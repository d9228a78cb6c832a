"""One life of the daemon: from its start to its end, and the instant after which nothing that it does counts."""

from collections.abc import Callable

import trio
from attrs import define, field


@define(eq=False)
class Life:
    """Shared by all that stands between the daemon and the world."""

    number: int
    strike: Callable[[str], None] = field(default=lambda _why: None)
    """Kills the daemon now."""
    ended: trio.Event = field(factory=trio.Event)

    def is_over(self) -> bool:
        """It died: from then on nothing leaves it, and nobody hears it."""
        return self.ended.is_set()
