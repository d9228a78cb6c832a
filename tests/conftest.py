"""Hypothesis draws the same examples in every run, and a loaded machine is no failure. And the localnets that tests share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from solders.keypair import Keypair

from tests.support.localnet import Localnet, start_localnet
from tests.support.settings import Place

# A shell starts what it runs in the background with SIGINT ignored, and so are all our processes then. Some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")

SLOT_MS = 20


@pytest.fixture(scope="session")
def shared_localnet() -> Iterator[Localnet]:
    """Start a localnet for the whole session: two nodes, short slots. Tests take `chain`."""
    with start_localnet(slot_ms=SLOT_MS) as localnet:
        yield localnet


@pytest.fixture(scope="session")
def shared_still_localnet() -> Iterator[Localnet]:
    """Start one whose slots only tests let pass. Tests take `still_chain`."""
    with start_localnet(slot_ms=0) as localnet:
        yield localnet


@pytest.fixture
def chain(shared_localnet: Localnet) -> Iterator[Localnet]:
    """A localnet without faults, before and after the test."""
    shared_localnet.clear()
    yield shared_localnet
    shared_localnet.clear()


@pytest.fixture
def still_chain(shared_still_localnet: Localnet) -> Iterator[Localnet]:
    """A localnet without faults in which time stands still."""
    shared_still_localnet.clear()
    yield shared_still_localnet
    shared_still_localnet.clear()


@pytest.fixture
def wallet(chain: Localnet) -> Keypair:
    """A wallet of the test's own, with plenty of every token."""
    return chain.new_wallet()


@pytest.fixture
def place(chain: Localnet, tmp_path: Path) -> Place:
    """Where a daemon that asks `chain` lives."""
    return Place(folder=tmp_path, nodes=chain.nodes, jupiter=chain.jupiter)
