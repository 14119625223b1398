"""Server reflection (grpc.reflection v1 and v1alpha) on Trio, so that grpcurl needs no .proto files.

Owns: answers from the descriptor pool. Does not own: which services a server has.
Protocol: grpc/doc/server-reflection.md. The two versions differ in nothing but their package.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpclib.const import Status
from grpclib.reflection.v1 import reflection_grpc as v1_grpc
from grpclib.reflection.v1 import reflection_pb2 as v1
from grpclib.reflection.v1alpha import reflection_grpc as v1alpha_grpc
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha

if TYPE_CHECKING:
    from grpclib._typing import IServable


class _Answers:
    """Answers requests with the messages of one version of the protocol."""

    def __init__(self, messages: Any, names: Sequence[str]) -> None:
        self._messages = messages
        self._names = names
        self._pool = descriptor_pool.Default()

    def answer(self, request: Any) -> Any:
        kind = request.WhichOneof("message_request")
        response = self._messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._fill(response, request, kind)
        except KeyError:
            response.error_response.error_code = Status.NOT_FOUND.value
            response.error_response.error_message = f"{getattr(request, kind)!s} is not known".replace(
                "\n", " "
            )
        return response

    def _fill(self, response: Any, request: Any, kind: str | None) -> None:
        pool = self._pool
        match kind:
            case "list_services":
                for name in self._names:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                self._add_file(response, pool.FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                self._add_file(response, pool.FindFileContainingSymbol(request.file_containing_symbol))
            case "file_containing_extension":
                wanted = request.file_containing_extension
                message = pool.FindMessageTypeByName(wanted.containing_type)
                extension = pool.FindExtensionByNumber(message, wanted.extension_number)
                self._add_file(response, pool.FindFileContainingSymbol(extension.full_name))
            case "all_extension_numbers_of_type":
                message = pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = message.full_name
                numbers.extension_number.extend(field.number for field in pool.FindAllExtensions(message))
            case _:
                response.error_response.error_code = Status.UNIMPLEMENTED.value
                response.error_response.error_message = "this request is not known"

    def _add_file(self, response: Any, file: FileDescriptor) -> None:
        """The file and everything that it imports, so that one question is enough."""
        seen: set[str] = set()
        waiting = [file]
        while waiting:
            current = waiting.pop()
            if current.name not in seen:
                seen.add(current.name)
                proto = descriptor_pb2.FileDescriptorProto()
                current.CopyToProto(proto)
                response.file_descriptor_response.file_descriptor_proto.append(proto.SerializeToString())
                waiting.extend(current.dependencies)


class _ReflectionV1(v1_grpc.ServerReflectionBase):
    def __init__(self, names: Sequence[str]) -> None:
        self._answers = _Answers(v1, names)

    async def ServerReflectionInfo(self, stream: Any) -> None:  # noqa: N802
        async for request in stream:
            await stream.send_message(self._answers.answer(request))


class _ReflectionV1Alpha(v1alpha_grpc.ServerReflectionBase):
    def __init__(self, names: Sequence[str]) -> None:
        self._answers = _Answers(v1alpha, names)

    async def ServerReflectionInfo(self, stream: Any) -> None:  # noqa: N802
        async for request in stream:
            await stream.send_message(self._answers.answer(request))


def with_reflection(services: "Sequence[IServable]") -> "list[IServable]":
    """`services` and the two reflection services that describe all of them."""
    names = sorted({path.split("/")[1] for service in services for path in service.__mapping__()})
    names += [
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    return [*services, _ReflectionV1(names), _ReflectionV1Alpha(names)]
