"""Estimates: the pace and its uncertainty against simulations, the draw of images, and the command."""

import json
import math
import random

import pytest
from small_inputs import members, write_shards
from support import assert_two_line_error, recap, write_tar

from recap_caption.engines.base import Reply
from recap_caption.estimate.draw import draw
from recap_caption.estimate.outlook import Plan, Probe, outlook
from recap_caption.estimate.pace import Estimate, bursts, mean, pace
from recap_caption.estimate.words import lines
from recap_caption.sources.base import Reading
from recap_caption.sources.places import find_source
from recap_eval.endpoint.money import Price
from recap_eval.errors import DataError


def batches(rng, n=25, size=8, seconds=2.0, spread=0.1, start=3.0):
    """Moments of n batches that come at once each, a microsecond between their captions, and when it began."""
    now, moments = start, []
    for _ in range(n):
        now += seconds * rng.uniform(1 - spread, 1 + spread)
        moments += [now + 1e-6 * k for k in range(size)]
    return moments


def test_bursts_are_what_comes_at_once():
    assert bursts(batches(random.Random(0), n=5, size=3))[0][1] == 3 and len(bursts(batches(random.Random(0), 5, 3))) == 5
    assert bursts([1.0, 2.0, 3.0]) == [(1.0, 1), (2.0, 1), (3.0, 1)]
    assert bursts([]) == [] and bursts([1.0]) == [(1.0, 1)] and bursts([1.0, 1.0]) == [(1.0, 2)]


def test_the_start_is_left_out():
    found = pace([100.0, 100.0, *(101.0 + place // 2 for place in range(20))], 0.0)
    assert found.value == pytest.approx(0.5) and found.error == pytest.approx(0)
    assert pace([4.0, 4.0], 0.0) == Estimate(2.0, None, 1) and pace([3.0], 1.0).value == 2.0
    assert pace([1.0, 2.0, 3.0], 0.0).interval() is None


def test_a_straggler_is_not_taken_for_the_pace():
    found = pace([*(1 + 0.01 * place for place in range(39)), 6.0], 0.0)
    assert found == Estimate(6.0 / 40, None, 1)
    assert pace([1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], 0.0) == Estimate(pytest.approx(1 / 7), None, 1)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, held = random.Random(1), 0
    for _ in range(400):
        low, high = pace(batches(rng, spread=0.5), 0.0).interval()
        held += low <= 2.0 / 8 <= high
    assert 0.90 <= held / 400 <= 0.985


def test_captions_that_come_one_by_one_have_an_interval_too():
    rng, held = random.Random(2), 0
    for _ in range(400):
        now, moments = 0.0, []
        for _ in range(120):
            now += rng.expovariate(10)
            moments.append(now)
        low, high = pace(moments, 0.0).interval()
        held += low <= 0.1 <= high
    assert 0.90 <= held / 400 <= 0.985


def test_means_are_statistics_own():
    import statistics

    values = [1.0, 5.0, 2.5, 9.0]
    found = mean(values)
    assert found.value == pytest.approx(statistics.mean(values))
    assert found.error == pytest.approx(statistics.stdev(values) / math.sqrt(4)) and found.n == 4
    assert mean([]) is None and mean([2.0]) == Estimate(2.0, None, 1)


def replies(n=40, **other):
    return [
        Reply("ok", "a b", finish_reason="stop", n_prompt_tokens=600, n_output_tokens=50 + i % 3, **other) for i in range(n)
    ]


def test_an_outlook_multiplies_the_probe():
    probe = Probe(replies(), [1.0 + place // 8 for place in range(40)], 0.0, 250.0)
    found = outlook(probe, Plan(1000, 3, devices=4, hour=2.0, price=Price(1.0, 10.0, "as given")))
    assert found["captions"] == 3000 and found["hours"]["value"] == pytest.approx(3000 / 8 / 3600 / 4)
    assert found["dollars_by_hour"]["value"] == pytest.approx(3000 / 8 / 3600 * 2) and found["disk_bytes"] == 750_000
    assert found["tokens_in"] == {"value": 1_800_000, "ci95": [1_800_000, 1_800_000]}
    each = sum(600 + 10 * (50 + i % 3) for i in range(40)) / 40 / 1e6
    assert found["dollars_by_tokens"]["value"] == pytest.approx(3000 * each)
    low, high = found["tokens_out"]["ci95"]
    assert low < found["tokens_out"]["value"] < high and json.dumps(found, allow_nan=False)


def test_what_an_engine_does_not_count_is_not_made_up():
    probe = Probe([Reply("ok", "a"), Reply("engine_error", error="x")], [1.0, 1.0], 0.0, 1.0)
    found = outlook(probe, Plan(10, price=Price(1, 1, "as given")))
    assert found["tokens_in"] is None and "dollars_by_tokens" not in found and found["hours"]["ci95"] is None
    assert probe.statuses() == {"ok": 1, "engine_error": 1} and probe.record()["cut"] == 0


def drawn_keys(folder, n):
    with draw(find_source([str(folder)], Reading("txt")), n) as found:
        assert all(item.read_image is None or item.read_image() for item in found.items)
        return [item.key for item in found.items], found


def test_the_draw_is_the_same_every_time_and_over_parts(tmp_path):
    folder = write_shards(tmp_path / "shards", shards=12, n=9)
    keys, found = drawn_keys(folder, 40)
    assert keys == drawn_keys(folder, 40)[0] and len(set(keys)) == 40 and set(drawn_keys(folder, 10)[0]) < set(keys)
    shards = {key[:5] for key in keys}
    assert len(shards) == found.parts == 8 and found.of == 12 and not found.exactly and 90 <= found.total <= 130
    every, found = drawn_keys(write_shards(tmp_path / "few", shards=2, n=5), 99)
    assert len(every) == 10 == found.total and found.exactly


def estimate(folder, *words, **other):
    return recap("recap-caption", "estimate", "--input", folder, "--engine", "fake_engine:make", *words, **other)


def test_the_command_says_what_a_run_would_take(tmp_path):
    folder = write_shards(tmp_path / "shards", shards=3, n=20, bad=10)
    words = ("--original-key", "txt", "--model", "m,slow=0.002", "--total", "1e6", "--devices", "4", "--price-per-hour", "2")
    done = estimate(folder, *words)
    assert done.returncode == 0, done.stderr
    assert "60 captions of 60 images from 3 of 3 parts" in done.stdout and "54 ok, 6 bad_image" in done.stdout
    assert "1,000,000 captions of 1,000,000 images by m, 4 at work" in done.stdout and "money    $" in done.stdout
    found = json.loads(estimate(folder, *words, "--probe", "12", "--json").stdout)
    assert found["probe"]["images"] == 12 and 0.5 <= found["run"]["device_hours"]["value"] <= 5
    assert found["run"]["device_hours"]["value"] == pytest.approx(4 * found["run"]["hours"]["value"])
    assert 50 <= found["probe"]["row_bytes"] <= 2000 and found["input_images"] == {"value": 60, "exact": True}


def test_several_captions_an_image_are_counted(tmp_path):
    folder = write_shards(tmp_path / "shards", shards=1, n=4)
    words = ("--original-key", "txt", "--prompt", "paper", "--prompt", "diverse", "--json")
    found = json.loads(estimate(folder, *words).stdout)
    assert found["run"]["images"] == 4 and found["run"]["captions"] == 16 == found["probe"]["replies"]


def test_wrong_estimates_are_told(tmp_path):
    folder = write_shards(tmp_path / "shards", shards=1, n=4)
    assert_two_line_error(estimate(folder), 2, "Which text is the original")
    assert_two_line_error(estimate(folder, "--original-key", "txt", "--price-in", "3"), 2, "--price-out")
    assert_two_line_error(estimate(tmp_path / "no"), 1, "is not there")
    assert_two_line_error(estimate(folder, "--original-key", "txt", "--engine", "fake_engine:nothing"), 2, "'nothing'")
    done = estimate(folder, "--original-key", "txt", "--model", "m,fail=1.1")
    assert_two_line_error(done, 1, "None of 4 captions came", "it happens")
    bad = write_tar(tmp_path / "bad.tar", members("a", **{".jpg": None}))
    assert_two_line_error(estimate(bad, "--original-key", "txt"), 1, "None of the probe's images")
    with pytest.raises(DataError), draw(find_source([str(folder)], Reading("txt")), 0):
        pass


def test_words_of_odd_figures():
    probe = Probe(replies(1), [2.0], 0.0, 1.0)
    record = {"probe": {"images": 1, "parts": 1, "parts_in_all": 1} | probe.record(), "model": "m"}
    said = "\n".join(lines(record | {"run": outlook(probe, Plan(1))}))
    assert "too few batches" in said and "nan" not in said and "None" not in said
    large = "\n".join(lines(record | {"run": outlook(probe, Plan(10**12, hour=3.0))}))
    assert "555,555,556 hours" in large and "T in" in large


def test_prompts_are_shown_word_for_word(tmp_path):
    done = recap("recap-caption", "prompts")
    assert done.returncode == 0 and "paper: The paper's" in done.stdout and "2406.08478" in done.stdout
    assert json.loads(recap("recap-caption", "prompts", "--json").stdout)[0]["id"] == "paper"
    (tmp_path / "mine.toml").write_text(
        'text = "A\\nB {org_caption}"\nsystem = "S"\n[sampling]\ntemperature = 0.5\ntop_p = 0.5\n'
    )
    shown = recap("recap-caption", "prompts", tmp_path / "mine.toml").stdout
    assert "mine-" in shown and "B {org_caption}" in shown and "temperature 0.5, top-p 0.5" in shown and "system   S" in shown
    assert_two_line_error(recap("recap-caption", "prompts", "papr"), 2, "'paper'")
