"""Who waits for news of which request. Costs nothing for requests that nobody follows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import trio
from attrs import define, field


@define(eq=False)
class Follower:
    """One who follows one request."""

    _make_end: Callable[[], Exception]
    _news: trio.Event = field(factory=trio.Event)
    _ended: bool = False

    async def changed(self) -> None:
        """Return once there was news since the beginning, or since this returned last (see journal.Following)."""
        await self._news.wait()
        if self._ended:
            raise self._make_end()
        self._news = trio.Event()

    def wake(self, *, ended: bool) -> None:
        """There is news, or there will be no more of it."""
        self._ended = self._ended or ended
        self._news.set()


@define(eq=False)
class Followers:
    """All of them. `make_end` makes the error that those get who wait when no news will come any more."""

    _make_end: Callable[[], Exception]
    _by_request: dict[str, list[Follower]] = field(factory=dict)
    _ended: bool = False

    @contextmanager
    def following(self, request_id: str) -> Iterator[Follower]:
        """Follow a request until the context ends."""
        follower = Follower(self._make_end)
        if self._ended:
            follower.wake(ended=True)
        followers = self._by_request.setdefault(request_id, [])
        followers.append(follower)
        try:
            yield follower
        finally:
            followers.remove(follower)
            if not followers:
                del self._by_request[request_id]

    def tell(self, request_ids: Iterable[str]) -> None:
        """There is news of these requests."""
        for request_id in request_ids:
            for follower in self._by_request.get(request_id, ()):
                follower.wake(ended=False)

    def end(self) -> None:
        """There will be no more news of anything."""
        self._ended = True
        for followers in self._by_request.values():
            for follower in followers:
                follower.wake(ended=True)

    def __len__(self) -> int:
        """How many requests are followed."""
        return len(self._by_request)
