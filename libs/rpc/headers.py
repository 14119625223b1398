"""gRPC's HTTP/2 headers: requests, responses, trailers, both ways.

Owns: names and encodings of headers (grpc/doc/PROTOCOL-HTTP2.md). Does not own: when they are sent.
Rules: 1 what a peer sends is checked; a header that can't be read is the peer's error, never a crash.
"""

import binascii
import http
from collections.abc import Iterable
from dataclasses import dataclass

import trio
from grpclib.const import Status
from grpclib.metadata import (
    decode_grpc_message,
    decode_metadata,
    decode_timeout,
    encode_grpc_message,
    encode_metadata,
)
from hpack import HeaderTuple, NeverIndexedHeaderTuple

from libs.model.errors import Invalid
from libs.rpc.call import CallRequest, Metadata, new_metadata
from libs.rpc.status import OK, CallStatus

CONTENT_TYPE = "application/grpc"
USER_AGENT = "grpc-python-kafscale"
ACCEPTED_ENCODINGS = "identity,gzip"
_DETAILS = "grpc-status-details-bin"
_TIMEOUT_DIGITS_MAX = 8
_TIMEOUT_UNITS = (("n", 1e9), ("u", 1e6), ("m", 1e3), ("S", 1.0), ("M", 1 / 60), ("H", 1 / 3600))

RawHeaders = list[HeaderTuple]
Received = Iterable[tuple[bytes, bytes]]

_RESPONSE = [
    HeaderTuple(b":status", b"200"),
    HeaderTuple(b"content-type", CONTENT_TYPE.encode()),
]
_ACCEPT = HeaderTuple(b"grpc-accept-encoding", ACCEPTED_ENCODINGS.encode())
_REQUEST_END = [
    HeaderTuple(b"te", b"trailers"),
    HeaderTuple(b"content-type", CONTENT_TYPE.encode()),
    HeaderTuple(b"user-agent", USER_AGENT.encode()),
    _ACCEPT,
]
_TRAILERS_OK = [HeaderTuple(b"grpc-status", b"0")]


def encode_timeout(seconds: float) -> str:
    """The finest unit whose value fits the eight digits that the protocol allows."""
    for unit, per_second in _TIMEOUT_UNITS:
        value = int(seconds * per_second)
        if value < 10**_TIMEOUT_DIGITS_MAX:
            return f"{value}{unit}"
    return "9" * _TIMEOUT_DIGITS_MAX + "H"


def request_headers(request: CallRequest, *, scheme: str, authority: str) -> RawHeaders:
    """The head of a call; its timeout counts from now."""
    headers = [
        HeaderTuple(b":method", b"POST"),
        HeaderTuple(b":scheme", scheme.encode()),
        HeaderTuple(b":path", request.path.encode()),
        HeaderTuple(b":authority", authority.encode()),
    ]
    if request.deadline is not None:
        timeout = encode_timeout(max(0.0, request.deadline - trio.current_time()))
        headers.append(NeverIndexedHeaderTuple(b"grpc-timeout", timeout.encode()))
    headers += _REQUEST_END
    headers += _custom(request.metadata)
    return headers


def response_headers(metadata: Metadata) -> RawHeaders:
    """The head of a response that goes on."""
    return [*_RESPONSE, *_custom(metadata)] if metadata else _RESPONSE


def trailers(status: CallStatus, metadata: Metadata, *, only: bool) -> RawHeaders:
    """The end of a response; `only` when there was no head."""
    if status is OK and not metadata and not only:
        return _TRAILERS_OK
    headers = [*_RESPONSE, _ACCEPT] if only else []
    headers.append(HeaderTuple(b"grpc-status", str(status.code.value).encode()))
    if status.message:
        headers.append(NeverIndexedHeaderTuple(b"grpc-message", encode_grpc_message(status.message).encode()))
    if status.details:
        value = binascii.b2a_base64(status.details, newline=False).rstrip(b"=")
        headers.append(NeverIndexedHeaderTuple(_DETAILS.encode(), value))
    headers += _custom(metadata)
    return headers


def http_error(status: http.HTTPStatus) -> RawHeaders:
    """The whole answer to a request that is not gRPC."""
    return [HeaderTuple(b":status", str(status.value).encode())]


def _custom(metadata: Metadata) -> list[HeaderTuple]:
    if not metadata:
        return []
    return [HeaderTuple(name.encode(), value.encode()) for name, value in encode_metadata(metadata)]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingRequest:
    """What a server learns from a request's head. `timeout_seconds` counts from its arrival."""

    path: str
    metadata: Metadata
    timeout_seconds: float | None
    user_agent: str | None
    encoding: str


def http_refusal(headers: Received) -> http.HTTPStatus | None:
    """Why a request is not gRPC at all; None when it is."""
    fields = dict(headers)
    if fields.get(b":method") != b"POST":
        return http.HTTPStatus.METHOD_NOT_ALLOWED
    if not _is_grpc(fields.get(b"content-type", b"")):
        return http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    return None


def parse_request(headers: Received) -> IncomingRequest:
    """Raises Invalid when a header can't be read."""
    pairs = _decode(headers)
    fields = dict(pairs)
    try:
        timeout = _decode_timeout(fields["grpc-timeout"]) if "grpc-timeout" in fields else None
        metadata = decode_metadata(pairs)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"a request header can't be read: {error}") from error
    return IncomingRequest(
        path=fields.get(":path", ""),
        metadata=metadata,
        timeout_seconds=timeout,
        user_agent=fields.get("user-agent"),
        encoding=fields.get("grpc-encoding", "identity"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingHead:
    """What a client learns from a response's head. `refusal` says why it is no gRPC response."""

    metadata: Metadata
    encoding: str
    refusal: CallStatus | None


# grpc/doc/http-grpc-status-mapping.md
_HTTP_CODES = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}


def parse_head(headers: Received) -> IncomingHead:
    """Never raises: a head that is wrong becomes a refusal."""
    pairs = _decode(headers)
    fields = dict(pairs)
    refusal = None
    status = fields.get(":status", "")
    if status != "200":
        code = _HTTP_CODES.get(int(status) if status.isdecimal() else 0, Status.UNKNOWN)
        refusal = CallStatus(code=code, message=f"the server answered HTTP status {status}")
    elif not _is_grpc(fields.get("content-type", "").encode()):
        kind = fields.get("content-type", "none")
        refusal = CallStatus(code=Status.UNKNOWN, message=f"the server answered content type {kind}")
    metadata = _metadata_or_empty(pairs)
    return IncomingHead(metadata=metadata, encoding=fields.get("grpc-encoding", "identity"), refusal=refusal)


def parse_trailers(headers: Received) -> tuple[CallStatus, Metadata] | None:
    """The status and metadata of trailers; None when there is no `grpc-status`."""
    pairs = _decode(headers)
    fields = dict(pairs)
    number = fields.get("grpc-status")
    if number is None:
        return None
    if number == "0":
        return OK, _metadata_or_empty(pairs)
    known = number.isdecimal() and int(number) in Status._value2member_map_
    status = CallStatus(
        code=Status(int(number)) if known else Status.UNKNOWN,
        message=decode_grpc_message(fields.get("grpc-message", "")),
        details=_decode_details(fields.get(_DETAILS, "")),
    )
    return status, _metadata_or_empty(pairs)


def _decode_timeout(text: str) -> float:
    if len(text) > _TIMEOUT_DIGITS_MAX + 1:
        raise ValueError(f"a timeout of {len(text)} characters")
    return decode_timeout(text)


def _is_grpc(content_type: bytes) -> bool:
    kind = content_type.split(b";", 1)[0].strip()
    return kind in (b"application/grpc", b"application/grpc+proto")


def _decode(headers: Received) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _metadata_or_empty(pairs: list[tuple[str, str]]) -> Metadata:
    try:
        return decode_metadata(pairs)
    except ValueError:  # a -bin value that is not base64; the status matters more
        return new_metadata()


def _decode_details(value: str) -> bytes:
    try:
        return binascii.a2b_base64(value + "=" * (-len(value) % 4))
    except (ValueError, binascii.Error):
        return b""
