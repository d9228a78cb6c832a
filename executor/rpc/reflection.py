"""gRPC's server reflection, v1 and v1alpha: tools such as grpcurl learn from it what can be called here.

Only what the server serves is told, not every file that this process has loaded. An unknown name is an error response, and the
conversation goes on. v1alpha has the same messages under another package, equal on the wire: both are answered with those of v1.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import purerpc
import trio
from attrs import define, field
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2

from executor.rpc import reflection_v1_pb2 as pb
from executor.rpc import reflection_v1alpha_pb2
from executor.rpc.calls import Servicer
from executor.rpc.lane import Lane
from executor.rpc.refusal import draining
from executor.rpc.rpc_status import RpcCode, RpcStatus

MAX_CONVERSATIONS = 16
"""In all connections together, of each version: nobody needs more, and each takes one of the calls that the server may have."""
REQUEST_SECONDS = 10.0
"""How long a conversation may be silent."""

_SHARE = 0.03
_MANY_FOR_MANY = purerpc.Cardinality.STREAM_STREAM


class Files:
    """What can be told of the files that define services, and of those that they import."""

    def __init__(self, roots: Iterable[FileDescriptor]) -> None:
        self._files = {file.name: file for root in roots for file in _with_imports(root)}
        self._by_symbol = {name: file for file in self._files.values() for name in _symbols(file)}
        self._messages = {message.full_name: message for file in self._files.values() for message in _all_messages(file)}
        self.services = sorted(service.full_name for file in self._files.values() for service in file.services_by_name.values())

    def named(self, name: str) -> FileDescriptor:
        """The file of a name. Raises KeyError."""
        return self._files[name]

    def defining(self, symbol: str) -> FileDescriptor:
        """The file that defines a symbol, by its full name. Raises KeyError."""
        return self._by_symbol[symbol]

    def extending(self, message: str, number: int) -> FileDescriptor:
        """The file that defines an extension. Raises KeyError."""
        return self.extensions(message)[number]

    def extensions(self, message: str) -> Mapping[int, FileDescriptor]:
        """The files of all extensions of a message, by their numbers. Raises KeyError when there is no such message."""
        extended = self._messages[message]
        found = {extension.number: extension.full_name for extension in extended.file.pool.FindAllExtensions(extended)}
        return {number: self._by_symbol[name] for number, name in sorted(found.items()) if name in self._by_symbol}


def reflection_services(*roots: FileDescriptor) -> tuple[Servicer, ...]:
    """Make the services that tell of the files, which define all other services, of themselves, and of the details of errors."""
    versions = (pb.DESCRIPTOR, reflection_v1alpha_pb2.DESCRIPTOR)
    files = Files((*roots, *versions, error_details_pb2.DESCRIPTOR))
    return tuple(_Reflection(version.services_by_name["ServerReflection"].full_name, files) for version in versions)


@define(eq=False)
class _Reflection:
    """One version of the service."""

    _name: str
    _files: Files
    _lane: Lane = field(init=False, factory=lambda: Lane(_SHARE))
    """A person with a tool is in no hurry, and an answer costs as much as a call."""
    _waits: set[trio.CancelScope] = field(init=False, factory=set)
    _conversations: int = field(init=False, default=0)
    _ended: bool = field(init=False, default=False)

    @property
    def service(self) -> Any:
        service = purerpc.Service(self._name)
        messages = pb.ServerReflectionRequest, pb.ServerReflectionResponse
        service.add_method("ServerReflectionInfo", self.converse, purerpc.RPCSignature(_MANY_FOR_MANY, *messages))
        return service

    def end_streams(self) -> None:
        self._ended = True
        for wait in self._waits:
            wait.cancel()

    async def converse(self, requests: AsyncIterator[pb.ServerReflectionRequest]) -> AsyncIterator[pb.ServerReflectionResponse]:
        if self._conversations >= MAX_CONVERSATIONS:
            raise RpcStatus(RpcCode.RESOURCE_EXHAUSTED, f"there are {self._conversations} conversations already")
        self._conversations += 1
        try:
            while (request := await self._next(requests)) is not None:
                async with self._lane.turn():
                    reply = answer(request, self._files)
                yield reply
        finally:
            self._conversations -= 1

    async def _next(self, requests: AsyncIterator[pb.ServerReflectionRequest]) -> pb.ServerReflectionRequest | None:
        if self._ended:
            raise draining()
        with trio.move_on_after(REQUEST_SECONDS) as wait:
            self._waits.add(wait)
            try:
                return await anext(requests, None)
            finally:
                self._waits.discard(wait)
        raise draining() if self._ended else RpcStatus(RpcCode.DEADLINE_EXCEEDED, "the next request did not come in time")


def answer(request: pb.ServerReflectionRequest, files: Files) -> pb.ServerReflectionResponse:
    """Answer one request; what is unknown or empty with an error response."""
    reply = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("message_request")
    try:
        if kind == "list_services":
            reply.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in files.services)
        elif kind == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            numbers = pb.ExtensionNumberResponse(base_type_name=name, extension_number=files.extensions(name))
            reply.all_extension_numbers_response.CopyFrom(numbers)
        else:
            found = _file_asked_for(request, kind, files)
            reply.file_descriptor_response.file_descriptor_proto.extend(_serialized(file) for file in _with_imports(found))
    except KeyError:
        reply.error_response.CopyFrom(pb.ErrorResponse(error_code=RpcCode.NOT_FOUND, error_message="it is not known here"))
    except RpcStatus as status:
        reply.error_response.CopyFrom(pb.ErrorResponse(error_code=status.code, error_message=status.message))
    return reply


def _file_asked_for(request: pb.ServerReflectionRequest, kind: str | None, files: Files) -> FileDescriptor:
    if kind == "file_by_filename":
        return files.named(request.file_by_filename)
    if kind == "file_containing_symbol":
        return files.defining(request.file_containing_symbol)
    if kind == "file_containing_extension":
        extension = request.file_containing_extension
        return files.extending(extension.containing_type, extension.extension_number)
    raise RpcStatus(RpcCode.INVALID_ARGUMENT, "nothing is asked for")


def _with_imports(file: FileDescriptor) -> list[FileDescriptor]:
    """A file, then all that it imports, each once."""
    found = {file.name: file}
    for imported in file.dependencies:
        found |= {other.name: other for other in _with_imports(imported)}
    return list(found.values())


def _serialized(file: FileDescriptor) -> bytes:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return proto.SerializeToString()


# The pool of descriptors has a look-up of its own, which does not find the methods of a service.


def _symbols(file: FileDescriptor) -> Iterator[str]:
    for message in _all_messages(file):
        yield message.full_name
        yield from (field.full_name for field in (*message.fields, *message.extensions))
        yield from (oneof.full_name for oneof in message.oneofs)
        yield from _symbols_of_enums(message.enum_types)
    yield from _symbols_of_enums(file.enum_types_by_name.values())
    yield from (extension.full_name for extension in file.extensions_by_name.values())
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)


def _symbols_of_enums(enums: Iterable[EnumDescriptor]) -> Iterator[str]:
    for enum in enums:
        yield enum.full_name
        # A value's full name stands beside the enum's, not below it.
        yield from (f"{enum.full_name.rpartition('.')[0]}.{value.name}".lstrip(".") for value in enum.values)


def _all_messages(file: FileDescriptor) -> Iterator[Descriptor]:
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        yield message
