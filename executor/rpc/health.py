"""gRPC's standard health service (grpc.health.v1), for orchestrators, load balancers and stock clients.

`""` is SERVING while the process takes calls. The full name of the trade service is SERVING while trading is allowed, and
NOT_SERVING while trading is halted, though the process is well and answers what became of trades. At the first signal of the end
everything is NOT_SERVING, before anything else is refused. Other names are NOT_FOUND, SERVICE_UNKNOWN for a watch.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import purerpc
import trio

from executor.rpc import health_pb2 as pb
from executor.rpc.refusal import draining
from executor.rpc.rpc_status import RpcCode, RpcStatus

LOOK_SECONDS = 0.25
"""How often a watch looks for a change."""
MAX_WATCHES = 64
"""In all connections together: a watch has no end of its own, and many would use up the calls that the server may have."""

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN

Check = Callable[[], bool]
"""Returns whether a service is serving. It is asked often, and must cost nothing."""


class HealthService:
    """Answers for the process and for the services of `checks`, by their full names."""

    def __init__(self, checks: Mapping[str, Check], *, max_watches: int = MAX_WATCHES) -> None:
        self._checks: Mapping[str, Check] = {"": lambda: True, **checks}
        self._max_watches = max_watches
        self._shut_down = self._ended = False
        self._changed = trio.Event()
        self.watches = 0

    @property
    def service(self) -> Any:
        """The purerpc.Service with its methods."""
        service = purerpc.Service(pb.DESCRIPTOR.services_by_name["Health"].full_name)
        one, many = purerpc.Cardinality.UNARY_UNARY, purerpc.Cardinality.UNARY_STREAM
        request, response = pb.HealthCheckRequest, pb.HealthCheckResponse
        service.add_method("Check", self.check, purerpc.RPCSignature(one, request, response))
        service.add_method("List", self.list_all, purerpc.RPCSignature(one, pb.HealthListRequest, pb.HealthListResponse))
        service.add_method("Watch", self.watch, purerpc.RPCSignature(many, request, response))
        return service

    def shut_down(self) -> None:
        """Tell everyone, those who watch at once, that nothing is serving any more."""
        self._shut_down = True
        self._wake()

    def end_streams(self) -> None:
        """End all watches, those to come as well."""
        self._shut_down = self._ended = True
        self._wake()

    async def check(self, message: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """Tell whether a service is serving."""
        if message.service not in self._checks:
            raise RpcStatus(RpcCode.NOT_FOUND, "there is no such service")
        return pb.HealthCheckResponse(status=self._status(message.service))

    async def list_all(self, _message: pb.HealthListRequest) -> pb.HealthListResponse:
        """Tell it of every service."""
        return pb.HealthListResponse(statuses={name: pb.HealthCheckResponse(status=self._status(name)) for name in self._checks})

    async def watch(self, message: pb.HealthCheckRequest) -> AsyncIterator[pb.HealthCheckResponse]:
        """Tell it now and at every change.

        Nothing is queued for a caller that reads slowly: it gets what holds when it has read. A health that goes and comes back
        between two looks is no change.
        """
        if self.watches >= self._max_watches:
            raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, f"there are {self.watches} watches already")
        self.watches += 1
        told = None
        try:
            while True:
                if (status := self._status(message.service)) != told:
                    yield pb.HealthCheckResponse(status=status)
                    told = status
                elif self._ended:
                    raise draining()
                else:
                    await self._change()
        finally:
            self.watches -= 1

    def _status(self, name: str) -> pb.HealthCheckResponse.ServingStatus:
        if (check := self._checks.get(name)) is None:
            return SERVICE_UNKNOWN
        return SERVING if not self._shut_down and check() else NOT_SERVING

    async def _change(self) -> None:
        with trio.move_on_after(LOOK_SECONDS):
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
