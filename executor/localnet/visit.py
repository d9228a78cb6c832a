"""One call at one node: what its method is carried out on."""

from typing import Any

from attrs import frozen

from executor.localnet.cluster import Cluster, Commitment
from executor.localnet.encoding import DataSlice, TooLongForBase58, account_json
from executor.localnet.faults import Fault
from executor.localnet.jsonrpc import INVALID_REQUEST, MIN_CONTEXT_SLOT_NOT_REACHED, NODE_UNHEALTHY, RpcError
from executor.localnet.ledger import Block
from executor.localnet.params import Config

Json = Any


@frozen(kw_only=True)
class NodeSettings:
    """What a node is like."""

    version: str = "3.1.8"
    """Before 3.1 a node answered bad signatures with an error of their own, and told less about a simulation."""
    transaction_delay_slots: int = 1
    """For so many slots after a transaction is confirmed, getTransaction still answers null."""
    unhealthy_after_slots: int = 128
    """A node that is further behind says that it is unhealthy, and takes no transaction that it should check first."""

    @property
    def is_old(self) -> bool:
        """Older than 3.1."""
        major, minor = (int(part) for part in self.version.split(".")[:2])
        return (major, minor) < (3, 1)


@frozen(kw_only=True)
class Visit:
    """The cluster as a node sees it in this call."""

    cluster: Cluster
    settings: NodeSettings
    behind: int
    faults: tuple[Fault, ...] = ()

    def block(self, config: Config, *, name: str = "commitment", default: str = Commitment.FINALIZED) -> Block:
        """The block that the options ask for. Raises `RpcError` when it lies before minContextSlot."""
        block = self.cluster.block(config.commitment(name) or default, behind=self.behind)
        least = config.unsigned("minContextSlot")
        if least is not None and block.slot < least:
            message = "Minimum context slot has not been reached"
            raise RpcError(MIN_CONTEXT_SLOT_NOT_REACHED, message, {"contextSlot": block.slot})
        return block

    def in_context(self, block: Block, value: Json) -> Json:
        """A value with the slot that it was read at."""
        return {"context": {"apiVersion": self.settings.version, "slot": block.slot}, "value": value}

    def require_health(self) -> None:
        """Raise `RpcError` when this node is too far behind."""
        if self.behind > self.settings.unhealthy_after_slots:
            message = f"Node is behind by {self.behind} slots"
            raise RpcError(NODE_UNHEALTHY, message, {"numSlotsBehind": self.behind})

    def account(self, account: Any, encoding: str, data_slice: DataSlice | None) -> Json:
        """An account as JSON. Raises `RpcError` where a node refuses the encoding."""
        try:
            return account_json(account, encoding=encoding, data_slice=data_slice, decimals=self.cluster.decimals)
        except TooLongForBase58 as error:
            message = "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
            raise RpcError(INVALID_REQUEST, message) from error
