"""Headers of gRPC, both ways."""

import pytest
from grpclib.const import Status
from grpclib.metadata import decode_timeout
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Invalid
from libs.rpc.call import new_metadata
from libs.rpc.headers import encode_timeout, parse_head, parse_request, parse_trailers, trailers
from libs.rpc.status import CallStatus


@given(seconds=st.floats(min_value=0, max_value=1e9))
def test_timeouts_fit_eight_digits_and_lose_little(seconds: float) -> None:
    text = encode_timeout(seconds)
    assert len(text) <= 9
    decoded = decode_timeout(text)
    assert decoded <= seconds * (1 + 1e-9)
    assert seconds - decoded <= max(1e-8, seconds * 1e-4)


def test_a_timeout_beyond_all_units() -> None:
    assert encode_timeout(1e20) == "99999999H"


@given(
    message=st.text(max_size=100),
    details=st.binary(max_size=100),
    code=st.sampled_from([status for status in Status if status is not Status.OK]),
)
def test_a_status_survives_its_trailers(message: str, details: bytes, code: Status) -> None:
    status = CallStatus(code=code, message=message, details=details)
    raw = [
        (bytes(name), bytes(text)) for name, text in trailers(status, new_metadata({"k": "v"}), only=False)
    ]
    parsed = parse_trailers(raw)
    assert parsed is not None
    assert parsed[0] == status
    assert dict(parsed[1]) == {"k": "v"}


@given(headers=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20))))
def test_no_header_of_a_peer_is_a_crash(headers: list[tuple[bytes, bytes]]) -> None:
    parse_head(headers)
    parse_trailers(headers)
    try:
        parse_request(headers)
    except Invalid:
        return


@pytest.mark.parametrize("timeout", [b"", b"1", b"S", b"-1S", b"1.5S", b"9" * 9 + b"n", b"9" * 400 + b"H"])
def test_odd_timeouts(timeout: bytes) -> None:
    with pytest.raises(Invalid, match="can't be read"):
        parse_request([(b":path", b"/x"), (b"grpc-timeout", timeout)])
