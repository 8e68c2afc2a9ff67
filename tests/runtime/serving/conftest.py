"""A certificate for the tests of serving."""

from __future__ import annotations

import pytest

from tests.certificates import TestCertificate


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> TestCertificate:
    """One certificate and its key for all of them. A test that changes it makes its own."""
    return TestCertificate(tmp_path_factory.mktemp("certificate"))
