"""The endpoint client by its parts, without a network: rate, breaker, back-off, addresses, answers, money."""

import asyncio
import json
import math
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from endpoints import KEY, completion

from recap_eval.endpoint import money
from recap_eval.endpoint.address import Address, Key, demand_key, find_address
from recap_eval.endpoint.breaker import FEWEST, MOST_PROBES, Breaker
from recap_eval.endpoint.failures import (
    MALFORMED,
    REFUSED,
    UNAVAILABLE,
    EndpointFailure,
    clean,
    of_status,
)  # fmt: skip
from recap_eval.endpoint.money import Budget, BudgetReached, Price, find_price, image_tokens, text_tokens
from recap_eval.endpoint.rate import Bucket, Rate
from recap_eval.endpoint.reply import read_reply
from recap_eval.endpoint.retry import LONGEST, backoff, retry_after
from recap_eval.errors import DataError, UserError


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("per_minute", [30, 60, 6000])
def test_a_bucket_lets_so_many_through_a_minute(per_minute):
    clock = Clock()
    bucket, passed = Bucket(per_minute, clock), []
    while clock.now < 100 + 180:
        if (delay := bucket.delay()) > 0:
            clock.now += delay
            continue
        bucket.take(1)
        passed.append(clock.now)
    for start in (100, 130, 200):
        within = sum(start <= when < start + 60 for when in passed)
        assert 0.97 * per_minute - 1 <= within <= per_minute + max(1, per_minute / 60) + 1


def test_a_large_request_passes_alone_and_the_next_one_waits_for_it():
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(31)
    assert bucket.delay() == pytest.approx(30, abs=0.01)
    bucket.take(-20)  # it needed less
    assert bucket.delay() == pytest.approx(10, abs=0.01)
    assert Bucket(None, clock).delay() == 0


def test_both_limits_hold():
    async def take(rate, n):
        begin = asyncio.get_running_loop().time()
        for _ in range(n):
            await rate.take(10)
        return asyncio.get_running_loop().time() - begin

    assert asyncio.run(take(Rate(None, None), 50)) < 0.1
    assert 0.25 < asyncio.run(take(Rate(None, 60 * 100), 14)) < 1  # ten at once, then ten a second
    assert 0.25 < asyncio.run(take(Rate(60 * 10, None), 14)) < 1


def test_a_breaker_opens_probes_and_closes():
    clock = Clock()
    breaker = Breaker(clock, pause=2)
    opened = [breaker.fail(breaker.begin()) for _ in range(FEWEST)]
    assert opened == [False] * (FEWEST - 1) + [True] and breaker.is_open and breaker.delay() == 2
    clock.now += 2
    assert breaker.delay() == 0 and breaker.begin() and breaker.delay() == math.inf  # one probe, the others wait
    assert breaker.fail(True) and breaker.delay() == 4
    clock.now += 4
    assert breaker.begin() and breaker.succeed() and not breaker.is_open and breaker.delay() == 0 and breaker.pause == 2


def test_a_breaker_stays_shut_under_a_third_of_faults_and_gives_up_in_the_end():
    clock = Clock()
    breaker = Breaker(clock)
    for number in range(1000):
        breaker.fail(False) if number % 3 == 0 else breaker.succeed()
        assert not breaker.is_open
    for _ in range(40):
        breaker.fail(False)
    assert breaker.is_open and not breaker.is_hopeless
    for _ in range(MOST_PROBES):
        clock.now += breaker.delay()
        breaker.fail(breaker.begin())
    assert breaker.is_hopeless


def test_an_abandoned_probe_lets_another_try():
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(FEWEST):
        breaker.fail(False)
    clock.now += 10
    breaker.begin()
    breaker.abandon()
    assert breaker.delay() == 0


def test_backoff_doubles_jitters_and_ends():
    for attempt, most in ((1, 0.5), (2, 1), (3, 2), (4, 4), (50, LONGEST), (10_000, LONGEST)):
        drawn = [backoff(attempt) for _ in range(200)]
        assert most / 2 <= min(drawn) < max(drawn) <= most
    assert backoff(2, 0.01) <= 0.02


def test_retry_after_in_all_its_forms():
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    cases = {"7": 7, "0": 0, "1.5": 1.5, later: 90, format_datetime(now - timedelta(hours=1), usegmt=True): 0}
    cases |= {"soon": None, "-3": None, "nan": None, "inf": None, "": None, "Fri, 99 Foo": None}
    for text, seconds in cases.items():
        assert retry_after({"retry-after": text}, now) == seconds, text
    assert retry_after({}, now) is None
    assert retry_after({"retry-after-ms": "250", "retry-after": "7"}, now) == 0.25


def test_kinds_of_failures():
    kinds = {status: of_status(status, None, "", None) for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 529)}
    assert {status for status, one in kinds.items() if one.is_retryable} == {408, 429, 500, 503, 529}
    assert {status for status, one in kinds.items() if one.for_all} == {401, 403, 404}
    assert {status for status, one in kinds.items() if one.is_outage} == {408, 500, 503, 529}
    quota = of_status(429, "insufficient_quota", "no money", None)
    assert quota.for_all and not quota.is_retryable and quota.kind == REFUSED


def test_what_servers_say_is_cleaned():
    assert clean("a\x1b[31mred\x07\n\tb\u202e") == "a [31mred b"
    assert len(clean("x" * 10_000)) == 241 and clean(None) == "" and clean({"a": 1}) == "{'a': 1}"


def test_a_reply_is_read_strictly():
    good = read_reply(json.dumps(completion("Rating: 4", tokens=(7, 2))).encode())
    assert (good.text, good.finish_reason, good.tokens_in, good.tokens_out, good.model) == (
        "Rating: 4",
        "stop",
        7,
        2,
        "judge-1",
    )
    refused = read_reply(json.dumps(completion(None, refusal="I must not")).encode())
    assert refused.refusal == "I must not" and refused.text == ""
    bare = read_reply(
        b'{"choices": [{"message": {"content": "4"}}], "usage": {"prompt_tokens": -1, "completion_tokens": true}}'
    )
    assert (bare.text, bare.tokens_in, bare.tokens_out, bare.finish_reason) == ("4", 0, 0, "")


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        (b"", True), (b"<html>", True), (b'{"choices": [', True), (b"\xff\xfe", True), (b"[" * 100_000, True),
        (b"[]", False), (b"4", False), (b"null", False), (b"{}", False), (b'{"choices": []}', False),
        (b'{"choices": [{"message": {"content": 4}}]}', False), (b'{"choices": [{"message": {"content": null}}]}', False),
        (b'{"choices": [{"message": "4"}]}', False), (b'{"choices": {"0": 1}}', False),
    ],
)  # fmt: skip
def test_malformed_replies(body, broken):
    with pytest.raises(EndpointFailure) as found:
        read_reply(body)
    assert found.value.kind == MALFORMED and found.value.broken == broken == found.value.is_retryable


PROBABLE = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}, {"token": "", "logprob": 0}]}
TELLING = {
    "told": (PROBABLE, -2 / 3), "none": (None, None), "empty": ({"content": []}, None), "null": ({"content": None}, None),
    "words": ({"content": [{"logprob": "-1"}]}, None), "endless": ({"content": [{"logprob": -math.inf}]}, None),
    "list": ([1], None), "lacking": ({"content": [{"logprob": -1}, {}]}, None),
}  # fmt: skip


@pytest.mark.parametrize(("told", "mean"), TELLING.values(), ids=TELLING)
def test_how_sure_a_server_is_is_the_mean_over_tokens_or_unknown(told, mean):
    found = completion("a b")
    found["choices"][0]["logprobs"] = told
    assert read_reply(json.dumps(found).encode()).mean_logprob == (None if mean is None else pytest.approx(mean))
    assert read_reply(json.dumps(completion("a")).encode()).mean_logprob is None


def test_a_key_shows_itself_nowhere(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", f" {KEY}\n")
    address = find_address("http://localhost:1/v1", "OTHER_KEY")
    for shown in (repr(address), str(address), repr(address.key), str(address.key), f"{address.key}"):
        assert KEY not in shown
    assert address.key.reveal() == KEY and address.key.hide(f"a {KEY} b") == "a [key] b"
    with pytest.raises(TypeError):
        pickle.dumps(address.key)
    assert Key().reveal() == "none" and Key().hide("none") == "none"
    body = json.dumps(completion(f"your key is {KEY}", model=KEY)).encode()
    assert KEY not in repr(read_reply(body, address.key.hide))


def test_addresses(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert find_address(None).provider == "openai" and find_address("https://eu.api.openai.com/v1").provider == "openai"
    two = find_address("http://a:1/v1/, https://b/v1")
    assert two.urls == ("http://a:1/v1", "https://b/v1") and two.provider == "compatible"
    assert find_address("https://api.openai.com.evil.org/v1").provider == "compatible"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://c/v1")
    assert find_address(None).urls == ("http://c/v1",)
    with pytest.raises(DataError, match="OPENAI_API_KEY is empty"):
        demand_key(Address())
    demand_key(two)


@pytest.mark.parametrize(
    "words",
    ["localhost:8000", "ftp://a/v1", "http://", "http://me:secret@a/v1", "http://a/v1?key=secret", "http://a:x/v1", ","],
)
def test_wrong_addresses(words):
    with pytest.raises(UserError) as found:
        find_address(words)
    assert "secret" not in found.value.what + found.value.hint


def test_wrong_keys(monkeypatch):
    monkeypatch.setenv("ODD_KEY", "sk-ключ")
    with pytest.raises(UserError, match="ODD_KEY"):
        find_address(None, "ODD_KEY")
    with pytest.raises(UserError, match="NO_SUCH_KEY is empty"):
        find_address(None, "NO_SUCH_KEY")


def test_prices_are_dated_and_unknown_ones_are_unknown():
    table = money._table()
    assert table["as_of"] and table["source"] and all(row["in"] > 0 < row["out"] for row in table["models"].values())
    price = find_price("gpt-4.1-2025-04-14", "openai")
    assert price == find_price("gpt-4.1", "openai") and price.of(1_000_000, 500_000) == 2 + 4 and "2026-03" in price.source
    assert find_price("gpt-4.1", "compatible") is None and find_price("judge-9", "openai") is None
    assert find_price("judge-9", "compatible", (1, 2)).of(1e6, 1e6) == 3
    with pytest.raises(UserError, match="two parts"):
        find_price("judge-9", "openai", (1, None))


def test_tokens_of_images_as_openai_counts_them():
    """The worked examples of OpenAI's guide: 1024 x 1024 and 2048 x 4096 in tiles; 1024 x 1024 in patches."""
    assert image_tokens("gpt-4o", (1024, 1024), "high") == 765 == image_tokens("gpt-4.1", (1024, 1024), "auto")
    assert image_tokens("gpt-4o", (2048, 4096), "high") == 1105 and image_tokens("gpt-4o", (4096, 8192), "low") == 85
    assert image_tokens("gpt-4.1-mini", (1024, 1024), "high") == math.ceil(1024 * 1.62)
    assert image_tokens("gpt-4.1-mini", (5000, 5000), "low") == math.ceil(1536 * 1.62)
    assert image_tokens("anything", (1, 1), "high") == 85 + 170 and image_tokens("gpt-4o", (100_000, 1), "high") == 85 + 4 * 170
    assert text_tokens("") < text_tokens("a word") < text_tokens("a word" * 9)


def test_a_budget_is_never_exceeded_whatever_comes():
    budget = Budget(1.0, Price(1.0, 1.0, "test"))
    held = [budget.hold(200_000, 0) for _ in range(5)]
    with pytest.raises(BudgetReached, match=r"--max-cost 1 would be exceeded"):
        budget.hold(1, 0)
    budget.settle(held[0], 200_000, (100_000, 0))  # cheaper than thought
    budget.settle(held[1])  # nothing was charged
    budget.doubt(held[2])  # nobody knows
    assert budget.spent == pytest.approx(0.1) and budget.uncertain == pytest.approx(0.2)
    budget.hold(290_000, 0)
    with pytest.raises(BudgetReached):
        budget.hold(20_000, 0)


def test_a_budget_learns_how_far_estimates_are_off_and_counts_what_is_not_told():
    budget = Budget(10.0, Price(1.0, 1.0, "test"))
    budget.settle(budget.hold(100_000, 0), 100_000, (400_000, 0))
    assert budget.hold(100_000, 0) == pytest.approx(0.4)
    budget.settle(0.4, 100_000, (0, 0))  # a server that does not count
    assert budget.spent == pytest.approx(0.8)
    with pytest.raises(UserError, match="price"):
        Budget(1.0, None)
    assert Budget().hold(10**9, 10**9) == 0


def test_failures_say_what_they_are():
    assert str(EndpointFailure(UNAVAILABLE, "HTTP 500")) == "unavailable: HTTP 500"
