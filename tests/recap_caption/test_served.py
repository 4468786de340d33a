"""The engine of servers over real HTTP: what is sent, faults, limits, stops; every request answered once."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter

import pytest
from asked import SHORT, answers, gone, png, request
from endpoints import KEY, Endpoint, completion
from PIL import Image
from support import ROOT

from recap_caption.canon import Canon
from recap_caption.engine_options import EngineOptions
from recap_caption.engines import table
from recap_caption.engines.served import ServedEngine
from recap_caption.engines.wording import DIALECTS, Wording
from recap_caption.prompts import Sampling
from recap_caption.rows import STATUSES
from recap_eval.endpoint.address import Address, Key
from recap_eval.endpoint.client import Limits
from recap_eval.endpoint.failures import EndpointDown
from recap_eval.errors import DataError, UserError

pytestmark = pytest.mark.serial
WARM = Sampling(12, temperature=0.7, top_k=20)


def uri_of(body):
    content = body["messages"][-1]["content"]
    return next((part["image_url"]["url"] for part in content if part["type"] == "image_url"), None)


def text_of(body):
    return next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")


def say(body):
    """Answer with the question's text, and with how sure the model is, if that is asked."""
    found = completion(f"caption of {text_of(body)}", tokens=(600, 5))
    if body.get("logprobs"):
        found["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -0.75}]}
    return found


def engine(*servers, side=32, form="PNG", **limits):
    limits = Limits(**{"concurrency": 8, "first_pause": 0.02, "timeout": 5.0, "breaker_pause": 0.2, "attempts": 6} | limits)
    urls = tuple(one if isinstance(one, str) else one.url for one in servers)
    return ServedEngine(Address(urls, Key(KEY)), Wording("m", "compatible"), Canon(side), limits, form)


def numbered(n, **other):
    return [request(i, f"q{i}", **other) for i in range(n)]


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_sent_is_the_canonical_image_and_every_setting(form):
    with Endpoint(say) as server:
        found = answers(engine(server, form=form), [request(3, "q <|eot_id|> <image>", WARM, system="You <s> see.")])[3]
        (body,) = server.bodies
    assert found.caption == "caption of q < |eot_id|> < image>" and found.mean_logprob == pytest.approx(-0.5)
    assert (found.status, found.finish_reason, found.n_prompt_tokens, found.n_output_tokens) == ("ok", "stop", 600, 5)
    image = Image.open(io.BytesIO(base64.b64decode(uri_of(body).partition(",")[2])))
    made = Canon(32).make(png(3), "x")
    assert (
        image.format == form
        and image.tobytes() == made.image.tobytes()
        and (found.width, found.height) == (made.width, made.height)
    )
    assert body["messages"][0] == {"role": "system", "content": "You < s> see."}
    assert (body["max_tokens"], body["temperature"], body["top_k"], body["top_p"], body["seed"]) == (12, 0.7, 20, 1.0, 1003)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("sampling", [SHORT, WARM, Sampling(12, 0.5, None, 0.9)], ids=["greedy", "top-k", "top-p"])
def test_dialects(dialect, sampling):
    wording = Wording("m", "compatible", dialect, {"mark": 1})
    if dialect == "openai" and sampling.top_k:
        with pytest.raises(UserError, match="no top-k"):
            wording.body(request(0, sampling=sampling), None)
        return
    body = wording.body(request(0, sampling=sampling), None)
    assert body["max_tokens"] == 12 and body["mark"] == 1 and ("seed" in body) != sampling.is_greedy
    drawn = body | json.loads(body.get("generation_config", "{}"))
    assert drawn["temperature"] == sampling.temperature
    if dialect != "openai" and not sampling.is_greedy:
        assert drawn["top_k"] == (sampling.top_k or {"vllm": -1, "transformers": 0}[dialect])
        assert drawn["top_p"] == (sampling.top_p or 1.0)
    json.dumps(body)


def test_openai_calls_its_limit_otherwise():
    assert Wording("m", "openai").body(request(0), None)["max_completion_tokens"] == 12


def test_faults_of_a_third_leave_every_request_with_one_answer():
    kinds = [500, 503, 429, 408, "reset", "cut", "garbage", (429, {"retry-after": "0.05"}), 502, "reset"]
    with Endpoint(say, lambda n, body: kinds[n % 10] if n % 3 == 0 else None) as server:
        found = answers(engine(server, attempts=10), numbered(90))
    assert Counter(reply.status for reply in found.values()) == {"ok": 90}
    assert all(found[i].caption == f"caption of q{i}" for i in range(90))
    assert {reply.attempts for reply in found.values()} > {1} and max(server.answered.values()) == 1


def test_kinds_of_failures_become_statuses():
    faults = {"q0": 400, "q1": 500, "q2": "hang", "q3": (422, {}, {"error": {"message": "too long"}}), "q5": "garbage"}
    with Endpoint(say, lambda n, body: faults.get(text_of(body))) as server:
        found = answers(engine(server, attempts=2, timeout=0.6), numbered(7))
    assert [found[i].status for i in range(7)] == [
        "refused", "engine_error", "timeout", "refused", "ok", "engine_error", "ok"
    ]  # fmt: skip
    assert found[0].error_type == "HTTP 400" and "too long" in found[3].error and found[1].attempts == 2
    assert found[0].attempts == 1 and found[2].error_type == "timed out" and found[5].error_type == "malformed"
    assert all(reply.status in STATUSES for reply in found.values()) and found[0].width


def test_refusals_of_the_model_are_no_captions():
    said = {
        "q0": completion(None, refusal="I cannot."), "q1": completion("half", finish="content_filter"), "q2": completion(""),
        "q3": completion("cut", finish="length", tokens=(0, 0)),
    }  # fmt: skip
    with Endpoint(lambda body: said[text_of(body)]) as server:
        found = answers(engine(server), numbered(4))
    assert [(found[i].status, found[i].caption) for i in range(4)] == [
        ("refused", None), ("refused", None), ("ok", ""), ("ok", "cut")
    ]  # fmt: skip
    assert found[0].error == "I cannot." and found[3].finish_reason == "length" and found[3].n_output_tokens is None
    assert found[2].mean_logprob is None


def test_bad_images_are_told_and_nobody_is_asked():
    bad = {1: b"no image", 3: gone, 4: png(4)[:80]}
    with Endpoint(say) as server:
        found = answers(engine(server), [request(i, f"q{i}", image=bad.get(i, True)) for i in range(6)])
        assert sorted(map(text_of, server.bodies)) == ["q0", "q2", "q5"]
    assert {i for i, reply in found.items() if reply.status == "bad_image"} == set(bad)


def test_a_question_without_image_and_an_image_as_it_came():
    with Endpoint(say) as server:
        assert answers(engine(server), [request(0, "q", image=None)])[0].width is None
        answers(engine(server, side=None), [request(1, "q", image=png(1, (50, 20)))])
        assert uri_of(server.bodies[0]) is None
    assert Image.open(io.BytesIO(base64.b64decode(uri_of(server.bodies[1]).partition(",")[2]))).size == (50, 20)


def test_so_many_are_under_way_and_no_more_are_read_ahead():
    read, kept, threads = [], [], set()

    def requests():
        for i in range(120):
            read.append(i)
            assert len(read) - len(kept) <= 16 + 4 + 3
            yield request(i, f"q{i}")

    def keep(one, reply):
        threads.add(threading.current_thread().name)
        kept.append(one.place)

    with Endpoint(say, lambda n, body: 0.03) as server:
        engine(server, concurrency=16).caption(requests(), keep)
        assert sorted(kept) == list(range(120)) and 12 <= server.most <= 16 and len(threads) == 1


def test_several_servers_share_the_work_and_one_may_die():
    with Endpoint(say, lambda n, body: 0.02) as well, Endpoint(say, lambda n, body: "reset" if n > 5 else 0.02) as ill:
        found = answers(engine(well, ill, attempts=12), numbered(80))
    assert all(reply.status == "ok" for reply in found.values()) and len(ill.bodies) >= 5


def test_limits_of_rate_hold():
    with Endpoint(say) as server:
        began = time.monotonic()
        answers(engine(server, requests_per_minute=1200), numbered(40))
        assert time.monotonic() - began > (40 - 20) / 20 - 0.15  # a second has 20, and one passes at once


def test_a_server_that_goes_away_ends_the_run_and_what_was_answered_is_kept():
    with Endpoint(say) as server:
        asked = engine(server, attempts=3, breaker_pause=0.02)
        kept = []

        def keep(one, reply):
            kept.append(reply)
            if len(kept) == 20:
                server.server.socket.close()
                server.faults = lambda n, body: "reset"

        with pytest.raises(DataError):
            asked.caption(iter(numbered(4000)), keep)
    ok = [reply for reply in kept if reply.status == "ok"]
    assert 20 <= len(ok) < 4000 and len(kept) < 1000


def test_when_everything_is_refused_the_run_ends():
    with Endpoint(say, lambda n, body: 400) as server:
        with pytest.raises(EndpointDown, match="8 requests were refused"):
            engine(server).caption(iter(numbered(400)), lambda one, reply: None)
        assert len(server.bodies) < 40
    with Endpoint(say, lambda n, body: 401) as server, pytest.raises(EndpointDown, match="does not accept the key"):
        engine(server).caption(iter(numbered(400)), lambda one, reply: None)


def test_what_stops_keeping_stops_the_run():
    def full(one, reply):
        raise DataError("The disk is full.", "Free some space.")

    with Endpoint(say) as server:
        with pytest.raises(DataError, match="disk is full"):
            engine(server).caption(iter(numbered(400)), full)
        assert len(server.bodies) < 40


def options(server, **other):
    url = server if isinstance(server, str) else server.url
    return EngineOptions("openai", "m", base_url=url, attempts=2, **other)


def test_servers_are_greeted_with_a_known_image(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Endpoint(say, key=KEY) as server, Endpoint(lambda body: "another") as other:
        found = table.make(options(server))
        (body,) = server.bodies
        assert Image.open(io.BytesIO(base64.b64decode(uri_of(body).partition(",")[2]))).size == (336, 336)
        assert found.about["answered_as"] == "judge-1" and found.about["logprobs"] is True and body["max_tokens"] == 16
        assert KEY not in json.dumps(found.about) + json.dumps(found.identity) and found.model_id == "m"
        assert capsys.readouterr().err == ""
        table.make(options(f"{server.url},{other.url}"))
        assert "answer the same question differently" in capsys.readouterr().err
    assert found.identity == {"model": "m", "provider": "compatible", "images": Canon().record(), "dialect": "vllm"}


def test_a_server_without_log_probabilities_or_eyes_is_found_out():
    def no_logprobs(n, body):
        return (400, {}, {"error": {"message": "logprobs: extra fields not permitted"}}) if "logprobs" in body else None

    def no_images(n, body):
        return (400, {}, {"error": {"message": "no multimodal model"}}) if uri_of(body) else None

    with Endpoint(say, no_logprobs) as server:
        found = table.make(options(server))
        assert found.about["logprobs"] is False and answers(found, [request(0)])[0].status == "ok"
    with Endpoint(say, no_images) as server:
        found = table.make(options(server))
        assert answers(found, [request(0, image=None)])[0].status == "ok"
        with pytest.raises(EndpointDown, match=r"takes no images: HTTP 400, no multimodal model"):
            answers(found, [request(0)])


def test_servers_that_do_not_answer_are_told():
    with pytest.raises(EndpointDown, match="Nobody answers") as found:
        table.make(options("http://127.0.0.1:9/v1"))
    assert "--base-url" in found.value.hint
    for fault, said in ((400, "refuses a plain question"), (404, "knows no such model"), (503, "does not answer")):
        with Endpoint(say, lambda n, body, fault=fault: fault) as server, pytest.raises(EndpointDown, match=said):
            table.make(options(server))
    with pytest.raises(DataError, match="asks for a key"):
        table.make(EngineOptions("openai", "m"))
    with pytest.raises(UserError, match="no address"):
        table.make(options("localhost:8000"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_lets_those_under_way_end(name, tmp_path):
    """In a process of its own that takes signals as wishes: SIGINT ends in KeyboardInterrupt, SIGTERM in the wish alone."""
    script = textwrap.dedent(f"""
        import signal, sys
        sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests" / "recap_caption")!r}]
        from asked import request
        from test_served import engine
        wished, kept = [], []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: wished.append(number))
        def requests():
            for i in range(100_000):
                yield request(i, f"q{{i}}", image=None)
        def keep(one, reply):
            kept.append(reply.status)
            if len(kept) == 20:
                print("going", flush=True)
        try:
            engine(sys.argv[1], attempts=50).caption(requests(), keep)
            ended = "returned"
        except KeyboardInterrupt:
            ended = "interrupted"
        restored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        print(ended, [signal.Signals(n).name for n in wished], kept.count("ok"), len(kept), restored, flush=True)
    """)
    with Endpoint(say, lambda n, body: 0.1 if n < 40 else 503) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.url], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert process.stdout.readline() == "going\n"
        process.send_signal(getattr(signal, name))
        began = time.monotonic()
        out, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    ended, wished, *_, restored = out.split(maxsplit=1)[0], out.partition("[")[2].partition("]")[0], out.split()[-1]
    assert restored == "True"
    assert (ended, wished) == (("interrupted", "") if name == "SIGINT" else ("returned", "'SIGTERM'"))
