"""Settings of the object store that only a bucket obeys are refused without one."""

import pytest

from libs.model.errors import Invalid
from services.standalone.config import StandaloneSettings

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"


def load(**environ: str) -> StandaloneSettings:
    return StandaloneSettings.load(
        argv=[], environ={f"KAFSCALE_{name}": value for name, value in environ.items()}
    )


def test_a_kms_key_reaches_the_store() -> None:
    assert load(S3_BUCKET="records", S3_KMS_KEY=ARN).store_settings().kms_key == ARN
    assert load(S3_BUCKET="records").store_settings().kms_key is None


@pytest.mark.parametrize("value", ["two words", "a\r\nx-amz-acl: public-read", "k" * 2049])
def test_what_is_no_kms_key(value: str) -> None:
    with pytest.raises(Invalid, match="KAFSCALE_S3_KMS_KEY"):
        load(S3_BUCKET="records", S3_KMS_KEY=value)


def test_a_read_bucket_reaches_the_store() -> None:
    assert load(S3_BUCKET="records", S3_READ_BUCKET="copy").store_settings().read_bucket == "copy"


def test_a_read_bucket_is_a_copy_of_another() -> None:
    with pytest.raises(Invalid, match="another bucket"):
        load(S3_BUCKET="records", S3_READ_BUCKET="records")
    with pytest.raises(Invalid, match="needs KAFSCALE_S3_BUCKET"):
        load(S3_READ_BUCKET="copy")


def test_a_directory_has_no_kms_key() -> None:
    with pytest.raises(Invalid, match="needs KAFSCALE_S3_BUCKET"):
        load(S3_KMS_KEY=ARN)
