"""Which h2 the tests ran with: scripts/test runs them with the one that pip resolves, and with the newest that is supported."""

import importlib
import os

import h2
import hpack
import hyperframe
import pytest

VERSIONS = {"3.2.0": ("3.2.0", "3.0.0", "5.2.0"), "4.4.1": ("4.4.1", "4.2.0", "6.1.0")}


def test_the_versions_that_are_meant_were_loaded() -> None:
    """What this process has imported, wherever it was found, is the version that EXPECTED_H2 names, with its companions."""
    if "EXPECTED_H2" not in os.environ:
        pytest.skip("EXPECTED_H2 is not set: scripts/test sets it")

    assert (h2.__version__, hpack.__version__, hyperframe.__version__) == VERSIONS[os.environ["EXPECTED_H2"]]


def test_purerpc_is_importable_with_either() -> None:
    """The name that h2 4.x dropped is there for purerpc, whichever version is installed."""
    importlib.import_module("executor.rpc.server")

    assert h2.events.PingAcknowledged is h2.events.PingAckReceived
