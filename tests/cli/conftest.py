"""A daemon for those who only ask it, and a place where all is well."""

from collections.abc import Iterator

import pytest
from solders.keypair import Keypair

from tests.cli.commands import END_SECONDS, Served, serving, trades
from tests.support.settings import Place
from tests.support.waiting import wait_until


@pytest.fixture(scope="package")
def daemon() -> Iterator[Served]:
    """`executor serve --localnet`, when it trades."""
    with serving("--localnet", "--slot-ms", "50") as served:
        wait_until(lambda: trades(served.address), "the daemon trades", seconds=END_SECONDS)
        yield served


@pytest.fixture
def ready(place: Place, wallet: Keypair) -> Place:
    """Everything is there and well."""
    place.write_wallet(wallet)
    return place
