"""Requests, replies and records as the store has them."""

from __future__ import annotations

import pytest

from actors.sharing.evidence import InstanceEvidence, Judgement, Rule
from actors.sharing.record import SharedRecord
from actors.sharing.requests import AcquireLease, Override, ProbeResult, ReleaseLease, Reply, Report, Request
from actors.sharing.wire import SCRIPT, arguments, channel, keys, record, reply


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            Report("me", Judgement.BAD, 1, 2, 3, 4, Rule(5, 6, 7, 8, 9), 10, True, 11, 12),
            "report me b 1 2 3 4 5 6 7 8 9 10 1 11 12",
        ),
        (AcquireLease("me", 2000, False), "acquire me 2000 0"),
        (ProbeResult("me", 1_800_000_000_001, True, 5), "result me 1800000000001 1 5"),
        (ReleaseLease("me", 7), "release me 7"),
        (Override("me", True, 60_000), "override me 1 60000"),
    ],
)
def test_a_request_is_words_in_the_script_s_order(request_: Request, words: str) -> None:
    assert " ".join(arguments(request_)) == words


def test_the_keys_of_a_breaker_are_on_one_node_of_a_cluster() -> None:
    assert keys("space", "it") == ["space:1:{it}", "space:1:{it}:evidence"]
    assert channel("space") == "space:1:news"


def test_a_reply_is_eleven_numbers() -> None:
    expected = Reply(True, 2, True, 4, 5, 6, False, True, False, 10, 11)
    assert reply([1, 2, 1, 4, 5, 6, 0, 1, 0, 10, 11]) == expected
    with pytest.raises(ValueError):
        reply([1, 2])
    with pytest.raises(TypeError):
        reply([None] * 11)  # type: ignore[list-item]


def test_a_record_is_read_from_the_two_hashes() -> None:
    read = record({"generation": "7", "is_open": "1", "owner": "me"}, {"me": "b|5|1|2|3|6"})
    evidence = {"me": InstanceEvidence(Judgement.BAD, 5, 1, 2, 3, 6)}
    assert read == SharedRecord(generation=7, is_open=True, owner="me", evidence=evidence)
    assert record({}, {}) == SharedRecord()


def test_the_script_begins_with_the_store_s_clock() -> None:
    assert SCRIPT.startswith("local time = redis.call('TIME')")
