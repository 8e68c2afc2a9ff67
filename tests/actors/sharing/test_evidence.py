"""When evidence is enough to open a breaker for all."""

from __future__ import annotations

import pytest

from actors.sharing.evidence import WHOLE, InstanceEvidence, Judgement, Rule, Tally, add_up, is_enough

COUNTS = Rule(quorum=2, window=30_000, confirm=250)
RATE = COUNTS._replace(rate=WHOLE // 2, minimum_calls=10)


def bad(share: int = WHOLE, failures: int = 0, calls: int = 0) -> InstanceEvidence:
    return InstanceEvidence(Judgement.BAD, 0, share, failures, calls)


def good(failures: int = 0, calls: int = 0) -> InstanceEvidence:
    return InstanceEvidence(Judgement.GOOD, 0, WHOLE, failures, calls)


def test_the_shares_of_the_bad_and_the_calls_of_all_add_up() -> None:
    silent = InstanceEvidence(Judgement.NONE, 0, WHOLE, 9, 9)
    reports = [bad(400_000, 2, 3), bad(200_000, 1, 2), good(1, 7), silent]
    assert add_up(reports) == Tally(bad=2, good=1, share=600_000, failures=4, calls=12)


@pytest.mark.parametrize(
    ("bads", "goods", "enough"),
    [
        (0, 0, False),
        (1, 0, False),  # no quorum
        (2, 0, True),
        (2, 1, True),
        (2, 2, False),  # a tie is no majority
        (3, 2, True),
        (2, 3, False),
    ],
)
def test_it_takes_a_quorum_that_is_a_majority(bads: int, goods: int, enough: bool) -> None:
    assert is_enough(add_up([bad()] * bads + [good()] * goods), COUNTS) is enough


def test_a_quorum_of_one_lets_one_instance_alone_open() -> None:
    assert is_enough(add_up([bad()]), COUNTS._replace(quorum=1))


@pytest.mark.parametrize(("shares", "enough"), [((500_000, 499_999), False), ((500_000, 500_000), True)])
def test_together_they_need_what_one_instance_needs(shares: tuple[int, ...], enough: bool) -> None:
    assert is_enough(add_up([bad(share) for share in shares]), COUNTS) is enough


@pytest.mark.parametrize(
    ("reports", "enough"),
    [
        ([(3, 5), (2, 5)], True),  # exactly the rate, exactly the minimum
        ([(3, 5), (2, 4)], False),  # too few calls
        ([(3, 5), (1, 5)], False),  # below the rate
    ],
)
def test_a_rate_pools_failures_and_calls(reports: list[tuple[int, int]], enough: bool) -> None:
    assert is_enough(add_up([bad(0, *one) for one in reports]), RATE) is enough


def test_the_calls_of_the_good_lower_the_rate() -> None:
    reports = [bad(0, 5, 5), bad(0, 5, 5), good(0, 10)]
    assert is_enough(add_up(reports), RATE)
    assert not is_enough(add_up([*reports[:2], good(0, 11)]), RATE)


def test_a_rate_needs_quorum_and_majority_too() -> None:
    assert not is_enough(add_up([bad(0, 20, 20)]), RATE)
    assert not is_enough(add_up([bad(0, 20, 20)] * 2 + [good(0, 1)] * 2), RATE)
