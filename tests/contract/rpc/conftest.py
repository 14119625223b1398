"""Fixtures of the gRPC contract."""

import pytest

from tests.contract.rpc.certificates import Certificates, issue


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))
