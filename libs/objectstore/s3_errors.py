"""What S3's answers and failures mean, in the platform's kinds of error.

Owns: the translation (design section 7: once per rim). Does not own: what is done about it.
Sources: Amazon S3 API Reference, "Error responses" and "PutObject"; MinIO's `cmd/api-errors.go`.
"""

import re
import ssl

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
from botocore.exceptions import ConnectTimeoutError as BotoConnectTimeoutError
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from libs.model.errors import Invalid, KafscaleError, NotFound, Reason, Unavailable

_CODE = re.compile(rb"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")

# These say something about the way, not about the request: sent again, it may succeed. Nothing was written.
_PASSING_CODES = frozenset(
    {
        "BadDigest",
        "ExpiredToken",
        "IncompleteBody",
        "InternalError",
        "KMS.DependencyTimeoutException",
        "KMS.KMSInternalException",
        "KMS.ThrottlingException",
        "OperationAborted",
        "ConditionalRequestConflict",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "ThrottlingException",
        "TokenRefreshRequired",
        "XAmzContentChecksumMismatch",
    }
)
_TELLS = {
    "AccessDenied": "the credentials do not allow it",
    "InvalidAccessKeyId": "the access key does not exist; check KAFSCALE_S3_ACCESS_KEY",
    "SignatureDoesNotMatch": "the secret key is wrong; check KAFSCALE_S3_SECRET_KEY",
    "NoSuchBucket": "the bucket does not exist; create it or check KAFSCALE_S3_BUCKET",
    "KMS.DisabledException": "the KMS key is disabled; enable it or check KAFSCALE_S3_KMS_KEY",
    "KMS.KMSInvalidStateException": "the KMS key can't be used, it may be about to be deleted",
    "KMS.NotFoundException": "there is no such KMS key in the bucket's region; check KAFSCALE_S3_KMS_KEY",
    "kms:KeyNotFound": "the object store knows no such KMS key; check KAFSCALE_S3_KMS_KEY",  # MinIO's word
    "AuthorizationHeaderMalformed": "the region is wrong; check KAFSCALE_S3_REGION",
    "PermanentRedirect": "the bucket is in another region; check KAFSCALE_S3_REGION and KAFSCALE_S3_ENDPOINT",
}


def error_of_answer(doing: str, status: int, code: str, message: str, *, writes: bool) -> KafscaleError:
    """The error for an answer that is no success; `doing` completes "can't ...".

    409 and 503 with an error code of S3's are its word that nothing was written; any other answer of 500 and
    above may come from something between us and the store, after the store had done its work.
    """
    text = f"can't {doing}: the object store says {status} {code or '(no code)'}"
    text += f" ({_TELLS.get(code, message)})" if code in _TELLS or message else ""
    if status == 404 and code in {"", "404", "NoSuchKey"}:
        if writes:  # a write has no object to miss: something between us and the store said so
            return Unavailable(text, outcome_unknown=True)
        return NotFound(text, reason=Reason.NO_SUCH_OBJECT)
    if status >= 500 and status != 501:
        return Unavailable(text, outcome_unknown=writes and not (status == 503 and code))
    if status in {408, 409, 425, 429} or code in _PASSING_CODES:
        return Unavailable(text)
    return Invalid(text)


def error_of_xml(doing: str, status: int, body: bytes, *, writes: bool) -> KafscaleError:
    """As `error_of_answer`, for a raw answer whose body is S3's error document, or something else."""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    return error_of_answer(
        doing,
        status,
        code[1].decode(errors="replace") if code else "",
        message[1].decode(errors="replace") if message else "",
        writes=writes,
    )


def error_of_transport(doing: str, error: HTTPError, *, writes: bool) -> Unavailable:
    """The error for a request that got no answer. A connection that was never made wrote nothing."""
    distrusted = isinstance(error, SSLError) and any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args
    )
    never_connected = distrusted or isinstance(error, NewConnectionError | ConnectTimeoutError)
    return Unavailable(
        f"can't {doing}: no answer from the object store: {error}",
        reason=Reason.TIMED_OUT
        if isinstance(error, ConnectTimeoutError | ReadTimeoutError)
        else Reason.STORAGE_ERROR,
        outcome_unknown=writes and not never_connected,
    )


def error_of_boto(doing: str, error: BotoCoreError | ClientError, *, writes: bool) -> KafscaleError:
    """The error for what a boto3 client raised."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
        told = error.response.get("Error", {})
        return error_of_answer(doing, status, told.get("Code", ""), told.get("Message", ""), writes=writes)
    never_connected = isinstance(error, EndpointConnectionError | BotoConnectTimeoutError)
    return Unavailable(
        f"can't {doing}: no answer from the object store: {error}",
        outcome_unknown=writes and not never_connected,
    )
