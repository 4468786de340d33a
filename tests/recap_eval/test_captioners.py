"""Captioners of every sort: a tiny LLaVA, servers, own classes; what is answered is kept and not asked again."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
from answerers import Answerer, bench, measure, value
from endpoints import KEY, Endpoint, completion
from fakes import Card
from PIL import Image
from support import assert_two_line_error, recap
from tiny_llava import make_llava

from recap_eval.artifact import write_artifact
from recap_eval.data.scenes.asked import questions
from recap_eval.endpoint.address import Address, Key
from recap_eval.endpoint.client import Limits
from recap_eval.endpoint.failures import EndpointDown
from recap_eval.errors import DataError, UserError
from recap_eval.models.base import Loading
from recap_eval.models.captioner import Ask, batches
from recap_eval.models.captioners import load_captioner
from recap_eval.models.image_text import load
from recap_eval.models.own_captioner import OwnCaptioner
from recap_eval.models.served import ServedCaptioner, Serving
from recap_eval.said import Kept

OWN = """
class Mine:
    revision = "1"
    def generate(self, images, texts, max_new_tokens):
        return ["yes" if "Is there" in text else f"{len(own)} {own[0].size}" for own, text in zip(images, texts)]
"""


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    return make_llava(tmp_path_factory.mktemp("captioners") / "tiny-llava")


def picture(shade, size=(40, 30)):
    return Image.new("RGB", size, (shade, 10, 255 - shade))


def ask(number, *parts, most=5):
    return Ask(f"k{number}", f"w{number}", parts, most)


def answers_of(captioner, asks, skip_bad=False):
    found = {}
    missed = captioner.answer(asks, lambda part: found.update({one.key: said for one, said in part}), skip_bad, False)
    return found, missed


def test_answers_of_a_batch_are_those_of_one_at_a_time(llava):
    model = load(str(llava), Loading())
    prompts = [[picture(10 * n, (20 + n, 40)), "word " * n + "?"] for n in range(1, 7)]
    alone = [model.generate([prompt], 6)[0] for prompt in prompts]
    assert model.generate(prompts, 6) == alone and len({one.text for one in alone}) > 1
    assert (
        all(one.finish_reason == "length" and one.tokens_out == 6 for one in alone) and alone[0].tokens_in < alone[5].tokens_in
    )
    two = model.generate([[picture(1), "and", picture(250)], [picture(250), "and", picture(1)]], 4)
    assert two[0].tokens_in == two[1].tokens_in > alone[0].tokens_in


def test_an_answer_ends_at_the_token_that_ends_it(llava):
    """Its first token is made one that ends: the shorter of two answers is not continued, and says why it ended."""
    model = load(str(llava), Loading())
    prompts = [[picture(10 * n, (20 + n, 40)), "word " * n + "abcdefgh"[n]] for n in range(1, 7)]
    texts = [model.generate([prompt], 3)[0] for prompt in prompts]
    tokens = model.model.generate(**model._inputs(prompts[:1]), max_new_tokens=3)[0, -3:].tolist()
    model.model.generation_config.eos_token_id = tokens[0]
    model._ends = {tokens[0]}
    found = model.generate(prompts, 3)
    assert (found[0].finish_reason, found[0].tokens_out) == ("stop", 1)
    kept = [(old, new) for old, new in zip(texts, found, strict=True) if new.finish_reason == "length"]
    assert kept and all(old == new for old, new in kept)


def test_sampling_settings_of_a_checkpoint_are_not_followed(llava, tmp_path):
    folder = shutil.copytree(llava, tmp_path / "m")
    plain = load(str(folder), Loading()).generate([[picture(9), "hello"]], 8)
    facts = json.loads((folder / "generation_config.json").read_text())
    facts |= {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "num_beams": 2}
    (folder / "generation_config.json").write_text(json.dumps(facts))
    assert load(str(folder), Loading()).generate([[picture(9), "hello"]], 8) == plain


def test_what_of_a_folder_names_it(llava, tmp_path):
    one = load(str(llava), Loading()).id
    assert one.protocol["decoding"] == "greedy" and one.protocol["images"]["crop"] and not one.protocol["images"]["pad"]
    other = shutil.copytree(llava, tmp_path / "tiny-llava")
    assert load(str(other), Loading()).id == one
    (other / "chat_template.jinja").write_text("{{ 'x' }}" + (other / "chat_template.jinja").read_text())
    assert load(str(other), Loading()).id.revision != one.revision
    write_artifact(other, "captioner", "mine", ["config.json", "model.safetensors"], {"seed": 3}, {})
    assert (found := load(str(other), Loading()).id).name == "mine" and found.meta == {"seed": 3}
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    with pytest.raises(DataError, match="not the file that"):
        load(str(other), Loading())


def test_folders_that_are_no_captioner(llava, model, tmp_path):
    with pytest.raises(DataError, match=r"Cannot load|does not exist"):
        load(str(model), Loading())
    bare = shutil.copytree(llava, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match="no chat template"):
        load(str(bare), Loading())
    for path in bare.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(DataError, match=r"no \*\.safetensors"):
        load(str(bare), Loading())
    (bare / "config.json").write_text('{"model_type": "clip"}')
    (bare / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="answers nothing about images"):
        load(str(bare), Loading())
    write_artifact(bare, "clip", "a-clip", ["config.json"], {}, {})
    with pytest.raises(UserError, match="of kind 'clip'"):
        load(str(bare), Loading())


def test_batches_are_of_one_limit_and_as_many_images_sorted_by_length():
    asks = [ask(n, *([Card("c", 1)] * (n % 2)), "x" * (7 * n % 5), most=5 + n // 6) for n in range(12)]
    found = list(batches(asks, 2))
    assert sorted(one.key for part in found for one in part) == sorted(one.key for one in asks)
    for part in found:
        assert len(part) <= 2 and len({(one.most, len(one.parts)) for one in part}) == 1
        assert [one.n_words for one in part] == sorted(one.n_words for one in part)


def test_unreadable_images_stop_or_are_counted(llava):
    bad = Card("bad", 0, b"no image")
    asks = [ask(0, Card("c", 3), "a"), ask(1, bad, "b"), ask(2, Card("d", 4), "c")]
    with pytest.raises(DataError, match=r"cards/bad\.png"):
        answers_of(load(str(llava), Loading()), asks)
    found, missed = answers_of(load(str(llava), Loading()), asks, skip_bad=True)
    assert found.keys() == {"k0", "k2"} and missed.bad.keys() == {"k1"}


def test_own_classes(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    captioner = load_captioner(f"{path}:Mine", Loading(), Serving())
    assert (captioner.id.name, captioner.id.revision) == ("Mine", "own:1")
    found, _ = answers_of(captioner, [ask(0, Card("c", 3), "Is there"), ask(1, Card("c", 3), "b ", Card("d", 4), " c")])
    assert [found[key].text for key in ("k0", "k1")] == ["yes", "2 (4, 4)"]
    told = []

    class Silent:
        def generate(self, images, texts, max_new_tokens):
            told.extend(texts)
            return ["\ud800"] * len(texts)

    quiet = OwnCaptioner(Silent(), "Silent")
    assert quiet.id.revision.startswith("probe:") and quiet.generate([[picture(1), "a", picture(2), "b"]], 4)[0].text == "?"
    assert told[-1] == "a<image>b"
    for made in (["one too many", "x"], [None], "ab"):
        Silent.generate = lambda self, images, texts, most, made=made: made
        with pytest.raises(UserError, match="something else than 1 strings"):
            quiet.generate([[picture(1), "a"]], 4)
    with pytest.raises(UserError, match="no method generate"):
        path.write_text("class Mine: pass")
        load_captioner(f"{path}:Mine", Loading(), Serving())


def serving(server, **limits):
    return Serving(Address((server.url,), Key(KEY)), Limits(**{"first_pause": 0.01, "attempts": 2} | limits))


@pytest.mark.serial
def test_servers_are_sent_images_in_their_places_and_answers_are_kept_as_they_come():
    def say(body):
        return completion(f"{len(body['messages'][0]['content'])}\ud83d", finish="length", tokens=(50, 7))

    with Endpoint(say, key=KEY) as server:
        captioner = ServedCaptioner("m", serving(server))
        found, missed = answers_of(captioner, [ask(0, Card("c", 3), "a"), ask(1, "b", Card("c", 3), "c", most=9)])
    assert not missed.failed and [found[key].text for key in ("k0", "k1")] == ["2?", "3?"]
    assert (found["k0"].finish_reason, found["k0"].tokens_in, found["k0"].tokens_out) == ("length", 50, 7)
    body = next(one for one in server.bodies if len(one["messages"][0]["content"]) == 3)
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url", "text"]
    assert body["temperature"] == 0 and body["max_tokens"] == 9 and body["model"] == "m"
    with Endpoint(key="another") as server, pytest.raises(EndpointDown) as told:
        answers_of(ServedCaptioner("m", serving(server)), [ask(0, "a")])
    assert "--model-key-env" in told.value.hint and KEY not in str(told.value.what)
    assert captioner.id.revision == "compatible:m" and KEY not in str(captioner.id)
    assert ServedCaptioner("m", Serving(serving(server).address, revision="step 3")).id.revision == "compatible:step 3"


@pytest.mark.serial
def test_questions_that_fail_are_asked_again_and_no_others(world, tmp_path):
    def refuse(number, body):
        return 400 if broken and "How many" in body["messages"][0]["content"][1]["text"] else None

    broken = True
    with Endpoint(lambda body: "two", key=KEY, faults=refuse) as server:
        captioner = ServedCaptioner("m", serving(server, concurrency=1))
        with pytest.raises(EndpointDown, match="8 questions failed and none was answered"):
            server.faults = lambda number, body: 400
            measure(captioner, "scenes-qa", world, tmp_path)
        server.faults, server.bodies = refuse, []
        with pytest.raises(DataError, match="48 of 192 questions have no answer"):
            measure(captioner, "scenes-qa", world, tmp_path)
        part = measure(captioner, "scenes-qa", world, tmp_path, skip_bad=True)
        assert part.partial and len(part.record["skipped"]) == 48 and "count" not in part.record["metrics"]
        broken, server.bodies = False, []
        whole = measure(captioner, "scenes-qa", world, tmp_path)
        assert len(server.bodies) == 48 and not whole.partial
        assert value(whole, "count") == pytest.approx(sum(3 for _ in range(6)) / 48)
        assert whole.record["run"]["answered_now"] == 48


def test_a_run_that_was_killed_goes_on_where_it_was(world, tmp_path):
    first = Answerer(lambda key: "no", until=50)
    with pytest.raises(KeyboardInterrupt):
        measure(first, "scenes-qa", world, tmp_path)
    second = Answerer(lambda key: "no")
    result = measure(second, "scenes-qa", world, tmp_path)
    asked = [one.key for one in first.asked + second.asked]
    assert len(asked) == len(set(asked)) == 192 and result.record["run"]["answered_now"] == 142
    again = Answerer(lambda key: "yes")
    assert value(measure(again, "scenes-qa", world, tmp_path, force=True), "presence") == value(result, "presence")
    assert measure(again, "scenes-qa", world, tmp_path).record["run"]["answered_now"] == 0 and not again.asked


SLOW = """
import time
class Mine:
    revision = "1"
    def generate(self, images, texts, max_new_tokens):
        with open({log!r}, "a") as log:
            log.writelines(f"{{own[0].tobytes().hex()}} {{text!r}}\\n" for own, text in zip(images, texts))
        time.sleep(0.05)
        return ["no"] * len(texts)
"""


@pytest.mark.serial
def test_a_process_that_was_killed_asks_again_at_most_the_batch_under_way(world, tmp_path):
    log, path = tmp_path / "log", tmp_path / "mine.py"
    path.write_text(SLOW.format(log=str(log)))
    words = ["captioner", "--model", f"{path}:Mine", "--tasks", "scenes-qa", "--data", world, "--out", tmp_path / "lb"]
    words += ["--no-report", "--answers", tmp_path / "a.sqlite", "--batch-size", "4"]
    running = subprocess.Popen([sys.executable, "-m", "recap_eval.cli", *map(str, words)], stderr=subprocess.DEVNULL)
    while not log.exists() or len(log.read_text().splitlines()) < 24:
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    done = recap("recap-eval", *words)
    assert done.returncode == 0, done.stderr
    counts = Counter(log.read_text().splitlines())
    assert len(counts) == 192 and set(counts.values()) <= {1, 2} and sum(n == 2 for n in counts.values()) <= 4


def test_other_models_prompts_and_limits_are_other_questions(world, tmp_path):
    measure(Answerer(lambda key: "no"), "scenes-qa", world, tmp_path)
    other = Answerer(lambda key: "no", name="other")
    measure(other, "scenes-qa", world, tmp_path)
    few = Answerer(lambda key: "no")
    result = measure(few, "scenes-qa", world, tmp_path, limit=10)
    assert len(other.asked) == 192 and not few.asked and result.partial and result.record["metrics"]["acc"]["n"] == 10


def test_a_damaged_file_of_answers_is_told(tmp_path, world):
    path = tmp_path / "cache" / "captioner.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and long enough to be looked at " * 20)
    with pytest.raises(DataError, match="cannot be read or written"):
        measure(Answerer(lambda key: "no"), "scenes-qa", world, tmp_path)
    with pytest.raises(DataError, match="Cannot write"):
        Kept(path / "below")


def test_the_first_answer_stays(tmp_path):
    from recap_eval.models.captioner import Said

    with Kept(tmp_path / "a.sqlite") as kept:
        kept.add([(ask(0, "x"), Said("one"))])
        kept.add([(ask(0, "x"), Said("two")), (ask(1, "x"), Said("\u2028\x00", "length", 3, 4))])
        assert kept.get(["k0", "k1", "k2"]) == {"k0": Said("one"), "k1": Said("\u2028\x00", "length", 3, 4)}
        assert len(kept.get([f"k{n}" for n in range(2000)])) == 2
    assert sqlite3.connect(tmp_path / "a.sqlite").execute("SELECT count(*) FROM said").fetchone() == (2,)


def test_an_image_that_cannot_be_read_is_left_out_and_counted(fresh_world, tmp_path):
    class Blind(Answerer):
        def answer(self, asks, keep, skip_bad, progress):
            missed = super().answer(asks[1:], keep, skip_bad, progress)
            missed.bad[asks[0].key] = "broken"
            return missed

    result = measure(Blind(lambda key: "no"), "scenes-qa", fresh_world, tmp_path, skip_bad=True)
    first = questions(fresh_world).items[0].key
    assert result.partial and result.record["skipped"] == [{"item": first, "reason": "broken"}]


def test_questions_beyond_the_context_are_told(world, tmp_path):
    captioner = Answerer(lambda key: "no")
    captioner.context = 12
    result = measure(captioner, "scenes-qa", world, tmp_path)
    assert "192 of 192 questions with their answers are longer than the 12 tokens" in result.record["warnings"][0]


def test_the_bench_has_no_cache_it_was_not_given(world, tmp_path):
    made = bench(Answerer(lambda key: "no"), world, tmp_path)
    assert made.kept == tmp_path / "cache" / "captioner.sqlite"


def test_the_command_end_to_end(llava, world, tmp_path):
    words = ["--data", world, "--out", tmp_path / "lb", "--reports", tmp_path / "rep", "--answers", tmp_path / "a.sqlite"]
    some = ["--tasks", "scenes-qa,scenes-caption", "--limit", "3"]
    done = recap("recap-eval", "captioner", "--model", llava, *some, *words, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout).values()
    assert {one["task"]["name"] for one in found["results"]} == {"scenes-qa", "scenes-caption"} and not found["failed"]
    assert all(one["partial"] and one["model"]["name"] == "tiny-llava" for one in found["results"])
    again = recap("recap-eval", "captioner", "--model", llava, *some, *words)
    assert "measured before" in again.stderr and "PARTIAL" in again.stderr
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    whole = recap("recap-eval", "captioner", "--model", f"{path}:Mine", "--tasks", "scenes-qa", *words)
    assert whole.returncode == 0 and "scenes: answers" in whole.stdout, whole.stderr
    shown = recap("recap-eval", "show", "Mine/scenes-qa", "--leaderboards", tmp_path / "lb", "--data", world)
    assert ".answers.jsonl" in shown.stdout + shown.stderr and shown.returncode == 0
    assert "GPT-4V" in (tmp_path / "rep" / "captioner.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["--tasks", "mmu"], 2, ["mmu", "Did you mean 'mmmu'"]),
        (["--tasks", ""], 2, ["names no task"]),
        (["--tasks", "mmmu:x"], 2, ["mmmu:x"]),
        (["--tasks", "detail-caption:imagenet1k"], 2, ["no data set of images and captions"]),
        (["--tasks", "mmmu"], 1, ["The data of mmmu is not under", "hf download MMMU/MMMU"]),
        (["--tasks", "scenes-qa,mm-vet"], 1, ["mm-vet", "unzip mm-vet.zip"]),
    ],
)
def test_wrong_words(world, tmp_path, words, code, fragments):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    where = ["--data", world, "--out", tmp_path / "lb", "--reports", tmp_path / "rep", "--answers", tmp_path / "a.sqlite"]
    done = recap("recap-eval", "captioner", "--model", f"{path}:Mine", *words, *where)
    assert_two_line_error(done, code, *fragments)


def test_models_that_are_not_there(world, tmp_path):
    where = [
        "--data",
        world,
        "--out",
        tmp_path / "lb",
        "--no-report",
        "--tasks",
        "scenes-qa",
        "--answers",
        tmp_path / "a.sqlite",
    ]
    assert_two_line_error(recap("recap-eval", "captioner", "--model", "no/such-model", *where), 1, "no/such-model")
    assert_two_line_error(recap("recap-eval", "captioner", "--model", "mine.py:Mine", *where), 2, "mine.py does not exist")
    assert_two_line_error(recap("recap-eval", "captioner", "--model", tmp_path, *where), 1, "config.json does not exist")
    done = recap("recap-eval", "captioner", "--model", "openai:m", "--model-url", "localhost", *where)
    assert_two_line_error(done, 2, "no address of a server")
