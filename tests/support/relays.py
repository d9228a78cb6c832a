"""Scripted servers in front of a real localnet: they keep what came in, pass it on, and alter what comes back.

They block the test's trio run while the localnet answers, so no latency and no hang may be ordered of the localnet behind them.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.support.upstream import Received, Reply, Upstream

Alter = Callable[[Any], Any]

NODE_OPERATIONS = (
    "getAccountInfo",
    "getEpochInfo",
    "getFirstAvailableBlock",
    "getGenesisHash",
    "getHealth",
    "getLatestBlockhash",
    "getMinimumBalanceForRentExemption",
    "getMultipleAccounts",
    "getRecentPrioritizationFees",
    "getSignatureStatuses",
    "getSlot",
    "getTransaction",
    "isBlockhashValid",
    "sendTransaction",
    "simulateTransaction",
)
FORWARD_SECONDS = 5.0


def unaltered(answer: Any) -> Any:
    """The answer as it is."""
    return answer


def relay_node(upstream: Upstream, url: str, **alterations: Alter) -> None:
    """Let a scripted server stand in front of a node; alterations by the name of the method."""
    for operation in NODE_OPERATIONS:
        upstream.always(operation, _forwarding(url, alterations.get(operation, unaltered)))


def relay_jupiter(upstream: Upstream, url: str, *, quote: Alter = unaltered, swap_instructions: Alter = unaltered) -> None:
    """Let a scripted server stand in front of Jupiter, whatever the path it is asked under."""
    for operation, alter in (("quote", quote), ("swap-instructions", swap_instructions)):
        upstream.always(operation, _forwarding(f"{url}/{operation}", alter))


def _forwarding(url: str, alter: Alter) -> Callable[[Received], Reply]:
    def step(received: Received) -> Reply:
        query = received.target.partition("?")[2]
        target = f"{url}?{query}" if received.method == "GET" else url
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(target, received.body or None, headers, method=received.method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=FORWARD_SECONDS) as answer:  # noqa: S310 - loopback
                return Reply(answer.status, json.dumps(alter(json.loads(answer.read()))).encode())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Reply(refusal.code, refusal.read())

    return step
