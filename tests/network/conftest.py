"""What the tests of the clients share."""

import random
from collections.abc import AsyncIterator

import pytest

from executor.network.solana import Node
from tests.support.clients import seeded
from tests.support.events import RecordedLog
from tests.support.upstream import Upstream, open_upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A scripted server."""
    async with open_upstream() as server:
        yield server


@pytest.fixture
def log() -> RecordedLog:
    """A log that keeps its events."""
    return RecordedLog()


@pytest.fixture
def rng() -> random.Random:
    """A seeded source of jitter."""
    return seeded()


@pytest.fixture
async def node(upstream: Upstream) -> AsyncIterator[Node]:
    """A client of the scripted server."""
    client = Node(upstream.url, name="one", timeout_seconds=5.0)
    yield client
    await client.aclose()
