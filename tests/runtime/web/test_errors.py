"""The response that an ApiError becomes."""

import pytest

from protocols.http import Code
from runtime.web.errors import ApiError


@pytest.mark.parametrize(
    ("seconds", "whole"), [(-1.0, 1), (0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.999, 60), (60.0, 60)]
)
def test_retry_after_is_whole_seconds_rounded_up_and_at_least_one(seconds, whole):
    error = ApiError(Code.RATE_LIMITED, "Too many requests", retry_after=seconds)
    assert error.headers() == {"Retry-After": str(whole)}
