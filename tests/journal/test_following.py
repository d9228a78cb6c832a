"""Following costs nothing that outlives it."""

from executor.journal.following import Followers


async def test_nobody_who_left_is_remembered() -> None:
    """What is held is what is followed now, once a request."""
    followers = Followers(RuntimeError)
    with followers.following("a") as first, followers.following("a"), followers.following("b"):
        assert len(followers) == 2
        followers.tell(["a", "c"])
        await first.changed()

    assert len(followers) == 0
