"""A run in one process: every sample once and in order, stopped and damaged in every way that can be arranged."""

import json
import shutil
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_engine import FakeEngine, caption_of
from small_inputs import begin, caption, image, keys_of, members, prove, rows_of, write_shards
from support import write_tar

from recap_caption.engines.base import Reply
from recap_caption.prompts import Prompt, Sampling
from recap_caption.rows import OURS, PUBLISHED
from recap_caption.run import worker as worker_module
from recap_caption.run.account import account, state_of
from recap_caption.run.ending import end, sample_outputs
from recap_caption.run.generation import FIRST, begin_retry, latest, left
from recap_caption.run.lease import Leases
from recap_caption.run.progress import Survey
from recap_caption.run.record import read_run
from recap_caption.run.who import this_process
from recap_caption.run.worker import Worker
from recap_eval.captions.files import find_files
from recap_eval.errors import DataError, UserError
from recap_eval.signals import Wishes

DRAWN = Prompt("drawn", "Say: {org_caption}", sampling=Sampling(temperature=1.0), samples=2)
PLAIN = Prompt("plain", "Describe it.")


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "in", bad=5, absent=7)


def work(run, engine=None, **other):
    return Worker(run, engine or FakeEngine(), "again", **other).work()


@pytest.mark.parametrize("threads", [1, 4])
def test_every_sample_has_its_rows_once_and_in_order(tmp_path, shards, threads):
    engine = FakeEngine(threads=threads)
    run, tally = caption(tmp_path / "out", shards, engine, prompts=[PLAIN, DRAWN], seed=3)
    rows = rows_of(run)
    questions = [("plain", 0), ("drawn", 0), ("drawn", 1)]
    assert [(r["key"], r["prompt_id"], r["sample_index"]) for r in rows] == [
        (key, *question) for key in keys_of() for question in questions
    ]
    assert list(rows[0]) == [*PUBLISHED, *OURS] and tally.state == "done" and tally.asked == len(engine.asked)
    proof = prove(run)
    assert not proof.problems and not proof.missing and proof.rows == 90 and proof.shared_keys() == 0
    for row in rows:
        number = int(row["key"][5:])
        assert row["org_caption"] == f"alt {row['key']}" and row["url"] == f"http://x/{row['key']}" and row["org_length"] == 2
        if number % 7 == 2 or number % 5 == 1:
            assert row["status"] == "bad_image" and row["re_caption"] is None and row["flags"] is None
            continue
        text = "Describe it." if row["prompt_id"] == "plain" else f"Say: {row['org_caption']}"
        assert row["re_caption"] == caption_of(image(row["key"]), text, row["seed"]) and row["re_length"] == 14
        assert (row["seed"] is None) == (row["prompt_id"] == "plain")
        assert (row["finish_reason"], row["width"], row["model_id"], row["engine"]) == ("stop", 8, "fake-1", "fake")
    assert len({row["seed"] for row in rows if row["seed"] is not None}) == 60
    absent = [row for row in rows if row["error_type"] == "NoImage"]
    assert len(absent) == 2 * 3 * 3


def test_a_complete_run_is_not_made_again(tmp_path, shards):
    run, _ = caption(tmp_path / "out", shards)
    before = {path: path.read_bytes() for path in run.folder.captions.iterdir()}
    engine = FakeEngine()
    caption(tmp_path / "out", shards, engine)
    assert not engine.asked and {path: path.read_bytes() for path in run.folder.captions.iterdir()} == before


def test_captions_of_a_shard_stream_into_the_next(tmp_path):
    """The engine is asked once for the whole run: it never runs dry between two shards."""
    calls = []

    class Counting(FakeEngine):
        def caption(self, requests, keep):
            calls.append(1)
            super().caption(requests, keep)

    run, _ = caption(tmp_path / "out", write_shards(tmp_path / "in", shards=5, n=4), Counting(threads=3))
    assert len(calls) == 1 and len(rows_of(run)) == 20


class Stopping(FakeEngine):
    """Wishes an end after so many answers, or does what a test says."""

    def __init__(self, after, act, **other):
        super().__init__(**other)
        self.after, self.act = after, act

    def answer(self, request):
        reply = super().answer(request)
        if len(self.asked) == self.after:
            self.act()
        return reply


def test_stopped_and_gone_on_with_nothing_is_asked_twice(tmp_path, shards):
    wishes = Wishes()
    first = Stopping(13, lambda: setattr(wishes, "term", True))
    run = begin(tmp_path / "out", shards, first)
    tally = Worker(run, first, "w", wishes=wishes).work()
    assert tally.state == "stopped" and len(first.asked) == 13 and Leases(run.folder.leases, "x").names() == set()
    second = FakeEngine()
    work(run, second)
    asked = [request.where for request in first.asked + second.asked]
    assert len(asked) == len(set(asked)) and not prove(run).problems and not left(run, FIRST)
    facts = account(run)
    assert facts["asked"] == len(asked) and facts["rows"] == 30


def test_an_engine_that_interrupts_itself_is_stopped(tmp_path, shards):
    def interrupt():
        raise KeyboardInterrupt

    engine, wishes = Stopping(5, interrupt), Wishes()
    run = begin(tmp_path / "out", shards, engine)
    Worker(run, engine, "w", wishes=wishes).work()
    assert wishes.interrupt and not Leases(run.folder.leases, "x").names()
    second = FakeEngine()
    work(run, second)
    assert len(second.asked) == len(FakeEngine().asked) + sum(1 for row in rows_of(run) if row["error_type"] != "NoImage") - 4


def test_an_engine_that_gives_up_keeps_what_it_answered(tmp_path, shards):
    def down():
        raise DataError("Nobody is at home.", "Come later.")

    engine = Stopping(5, down)
    run = begin(tmp_path / "out", shards, engine)
    with pytest.raises(DataError, match="at home"):
        Worker(run, engine, "w").work()
    work(run)
    assert not prove(run).problems


@pytest.mark.parametrize(
    ("misdeed", "said"), [("forget", "left 1 questions"), ("twice", "answered a question twice"), ("odd", "status 'fine'")]
)
def test_engines_that_break_the_rules_are_named(tmp_path, shards, misdeed, said):
    class Wrong(FakeEngine):
        def caption(self, requests, keep):
            for number, request in enumerate(requests):
                if number == 3 and misdeed == "forget":
                    continue
                keep(request, Reply("fine") if misdeed == "odd" and number == 3 else self.answer(request))
                if number == 3 and misdeed == "twice":
                    keep(request, self.answer(request))

    run = begin(tmp_path / "out", shards, Wrong())
    with pytest.raises(DataError, match=said):
        Worker(run, Wrong(), "w").work()
    work(run)
    assert not prove(run).problems


def test_odd_replies_become_rows_that_can_be_written(tmp_path, shards):
    odd = iter([
        Reply("ok", None), Reply("ok", "half \ud83d"), Reply("ok", "x", mean_logprob=float("nan")),
        Reply("ok", "x", mean_logprob=float("-inf")), Reply("refused", "no", error="a\nb\x1b[31m" * 200, error_type="R"),
        Reply("ok", ""), Reply("ok", "\0 two\nlines 🙂"),
    ])  # fmt: skip
    run, _ = caption(tmp_path / "out", shards, FakeEngine(say=lambda request, payload: next(odd, "fine.")))
    asked = [row for row in rows_of(run) if row["status"] != "bad_image"]
    assert [row["status"] for row in asked[:7]] == ["engine_error", "ok", "ok", "ok", "refused", "ok", "ok"]
    assert asked[1]["re_caption"] == "half \ufffd" and asked[2]["mean_logprob"] is None and asked[3]["mean_logprob"] is None
    assert asked[4]["re_caption"] is None and len(asked[4]["error"]) < 300 and "\x1b" not in asked[4]["error"]
    assert asked[5]["re_caption"] == "" and asked[6]["re_caption"] == "\0 two\nlines 🙂" and not prove(run).problems


def test_digests_of_images_are_found_where_none_is_stated(tmp_path):
    import hashlib

    write_tar(tmp_path / "in.tar", members("a", **{".json": None}) | members("b"))
    engine, wishes = FakeEngine(), Wishes()
    engine = Stopping(1, lambda: setattr(wishes, "term", True))
    run = begin(tmp_path / "out", tmp_path / "in.tar", engine)
    Worker(run, engine, "w", wishes=wishes).work()
    work(run)  # the digest outlives the stop
    assert [row["sha256"] for row in rows_of(run)] == [
        hashlib.sha256(image("a")).hexdigest(),
        json.loads(members("b")["b.json"])["sha256"],
    ]


def test_a_prompt_without_its_text_is_a_row(tmp_path):
    write_tar(tmp_path / "in.tar", members("a") | members("b", **{".txt": None}))
    run, _ = caption(tmp_path / "out", tmp_path / "in.tar", prompts=[DRAWN])
    rows = rows_of(run)
    assert [row["status"] for row in rows] == ["ok", "ok", "bad_text", "bad_text"] and rows[2]["error_type"] == "MissingText"


def test_texts_alone(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"key": ["a", "b"], "org_caption": ["one", "two"], "re_caption": ["x", "y"], "sha256": ["1", "2"]}), path
    )
    fusion = Prompt("fusion", "{org_caption}/{re_caption}", sees_image=False)
    run, _ = caption(
        tmp_path / "out", path, original="parquet:org_caption", recaption="parquet:re_caption", images=False, prompts=[fusion]
    )
    rows = rows_of(run)
    assert [row["re_caption"] for row in rows] == [caption_of(b"", "one/x"), caption_of(b"", "two/y")]
    assert [row["sha256"] for row in rows] == ["1", "2"]


def test_another_configuration_is_refused_and_the_difference_named(tmp_path, shards):
    out = tmp_path / "out"
    caption(out, shards)
    begin(out, shards, FakeEngine())
    for other, said in [
        ({"engine": FakeEngine("fake-2")}, "model_id"), ({"engine": FakeEngine(identity={"weights": "x"})}, "engine.weights"),
        ({"prompts": [Prompt("plain", "Otherwise.")]}, r"prompts\[0\].text"), ({"prompts": [PLAIN, DRAWN]}, "prompts"),
        ({"seed": 1}, "seed"), ({"original": "json:org_caption"}, "reading.original"), ({"limit": 4}, "limit"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=f"another configuration: .*{said}"):
            begin(out, shards, **other)
    write_tar(shards / "00003.tar", members("x"))
    with pytest.raises(UserError, match=r"input.files 3 there, 4 here"):
        begin(out, shards)
    with pytest.raises(DataError, match="other files than when the run began"):
        prove(read_run(out))


def test_a_shard_that_changed_is_refused(tmp_path, shards):
    run = begin(tmp_path / "out", shards)
    write_tar(shards / "00001.tar", members("x"))
    with pytest.raises(DataError, match="00001 of the input is not what it was"):
        work(run)
    assert not Leases(run.folder.leases, "x").names()
    assert any("00001 of the input" in line for line in prove(run).problems) or "00001" in prove(run).missing


def test_of_many_that_begin_a_run_one_does(tmp_path, shards):
    runs, barrier = [], threading.Barrier(4)

    def start(number):
        barrier.wait()
        runs.append(begin(tmp_path / "out", shards, worker=f"w{number}"))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len({run.run_id for run in runs}) == 1 and len(runs) == 4


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")])
def test_a_manifest_is_made_again(tmp_path, shards, damage):
    run = begin(tmp_path / "out", shards)
    before = run.parts
    damage(run.folder.manifest)
    assert begin(tmp_path / "out", shards).parts == before
    damage(run.folder.manifest)
    write_tar(shards / "00001.tar", members("x"))
    with pytest.raises(DataError, match="damaged, and the input is not what it was"):
        begin(tmp_path / "out", shards)


def test_two_that_believe_they_own_a_shard_commit_once(tmp_path):
    folder = write_shards(tmp_path / "in", shards=1)
    slow, wishes = FakeEngine(slow=0.02, say=lambda request, payload: "by the first."), Wishes()
    run = begin(tmp_path / "out", folder, slow)
    first = Worker(run, slow, "first", wishes=wishes)
    thread = threading.Thread(target=first.work)
    thread.start()
    while not slow.asked:
        time.sleep(0.001)
    (run.folder.leases / "00000.g0.lease").unlink()  # as if it had been taken for dead
    work(run, FakeEngine(say=lambda request, payload: "by the second."))
    thread.join()
    captions = {row["re_caption"] for row in rows_of(run)[5:]}
    assert captions == {"by the second."} and not prove(run).problems and not run.folder.leftovers(0)


def test_who_loses_a_lease_leaves_the_shard(tmp_path, monkeypatch, capsys):
    from recap_caption.run import ticker

    monkeypatch.setattr(ticker, "TICK", 0.01)
    monkeypatch.setattr(ticker, "BEAT", 0.02)
    folder = write_shards(tmp_path / "in", shards=2, n=20)
    run = begin(tmp_path / "out", folder)

    def steal():
        path = next(run.folder.leases.glob("0*"))
        path.write_text(json.dumps({"token": "thief"} | this_process()))

    Worker(run, Stopping(3, steal, slow=0.02), "w").work()
    assert "taken over by another worker" in capsys.readouterr().err and len(run.folder.outputs()) == 1


def test_what_another_machine_has_is_waited_for_until_it_lives_or_is_left(tmp_path, shards, monkeypatch):
    from recap_caption.run import desk

    monkeypatch.setattr(desk, "LOOK", 0.01)
    run = begin(tmp_path / "out", shards)
    taken = Leases(run.folder.leases, "far").take("00001.g0")
    record = json.loads(taken.path.read_text()) | {"machine": "another"}
    taken.path.write_text(json.dumps(record))
    beating = threading.Timer(0.5, taken.beat)
    beating.start()
    work(run)
    assert left(run, FIRST) == ["00001"]  # it lives: its own worker goes on with it
    done = Worker(run, FakeEngine(), "w")
    done._desk.leases.stale = 0.3
    done.work()
    assert left(run, FIRST) == []


def test_many_failures_in_a_row_stop_the_run_and_are_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "MOST_IN_A_ROW", 8)
    folder = write_shards(tmp_path / "in")
    broken = FakeEngine(say=lambda request, payload: Reply("engine_error", error_type="CUDA", error="out of luck"))
    run = begin(tmp_path / "out", folder, broken)
    with pytest.raises(DataError, match="8 questions in a row failed; the last: out of luck"):
        work(run, broken)
    work(run)
    assert {row["status"] for row in rows_of(run)} == {"ok"}


def test_a_retry_asks_what_failed_and_copies_the_rest(tmp_path, shards):
    run, _ = caption(tmp_path / "out", shards, FakeEngine(fail=0.3))
    before = rows_of(run)
    failed = {row["key"] for row in before if row["status"] == "engine_error"}
    generation = begin_retry(run, ("engine_error",))
    engine = FakeEngine()
    Worker(run, engine, "w", generation).work()
    assert {request.where.partition(":")[2].removesuffix(".jpg") for request in engine.asked} == failed
    after = rows_of(run)
    assert [row["key"] for row in after] == keys_of() and {row["status"] for row in after} == {"ok", "bad_image"}
    for old, new in zip(before, after, strict=True):
        assert (old == new) == (old["key"] not in failed)
        assert new["attempts"] == (3 if old["key"] in failed else old["attempts"])
    assert not prove(run).problems and begin_retry(run, ("engine_error", "timeout")) is None
    made = account(run)
    assert made["rows"] == 30 and made["asked"] == len(failed) + sum(row["error_type"] != "NoImage" for row in before)
    readers_see = [path.name for path in find_files([str(run.folder.root)])]
    assert readers_see == [path.name for path in run.folder.newest_outputs()] and any(".g1." in name for name in readers_see)


def test_retries_in_turn(tmp_path, shards):
    with pytest.raises(DataError, match="not captioned yet"):
        begin_retry(begin(tmp_path / "out", shards), ("timeout",))
    run, _ = caption(tmp_path / "out", shards, FakeEngine(fail=0.5))
    with pytest.raises(UserError, match="Unknown status to ask again 'ok'"):
        begin_retry(run, ("ok",))
    assert begin_retry(run, ("timeout",)) is None and latest(run) == FIRST
    first = begin_retry(run, ("engine_error",))
    assert begin_retry(run, ("engine_error",)) == first
    with pytest.raises(UserError, match="under way and not complete"):
        begin_retry(run, ("bad_image",))
    Worker(run, FakeEngine(fail=0.2), "w", first).work()
    second = begin_retry(run, ("engine_error",))
    assert second.number == 2
    Worker(run, FakeEngine(), "w", second).work()
    third = begin_retry(run, ("bad_image",))
    Worker(run, FakeEngine(), "w", third).work()
    assert third.number == 3 and not prove(run).problems
    assert sum(row["status"] == "ok" for row in rows_of(run)) == sum(row["status"] != "bad_image" for row in rows_of(run))


def test_a_limit_takes_the_first_samples(tmp_path, shards):
    run, _ = caption(tmp_path / "out", shards, limit=14)
    assert [row["key"] for row in rows_of(run)] == keys_of()[:14] and not prove(run).problems and not prove(run).missing
    assert state_of(run, Survey(run).look())["partial"]


def test_torn_shards_and_empty_ones(tmp_path):
    folder = write_shards(tmp_path / "in", n=10)
    (folder / "00002.tar").write_bytes(b"no tar")
    with (folder / "00001.tar").open("rb+") as stream:
        stream.truncate(9000)
    run, _ = caption(tmp_path / "out", folder)
    torn = account(run)["torn"]
    assert torn == {"parts": ["00001", "00002"], "samples_lost": 0, "parts_of_unknown_loss": 2}
    assert prove(run).rows == 10 + 2 and not prove(run).problems


def flip(path, place=None):
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 3 if place is None else place] ^= 4
    path.write_bytes(payload)


@pytest.mark.parametrize("damage", [
    flip, lambda path: flip(path, -30), lambda path: path.write_bytes(path.read_bytes()[:-5]),
    lambda path: path.write_bytes(b""), lambda path: shutil.copy(path.with_name("00000.parquet"), path),
])  # fmt: skip
def test_damage_is_found_and_named(tmp_path, shards, damage):
    run, _ = caption(tmp_path / "out", shards)
    damage(run.folder.output("00001", 0))
    problems = prove(run).problems
    assert len(problems) == 1 and "00001.parquet" in problems[0]
    run.folder.output("00001", 0).unlink()
    assert prove(run).missing == ["00001"]
    work(run)
    assert not prove(run).problems and not prove(run).missing


def test_rows_that_are_not_the_inputs_are_found(tmp_path, shards):
    from recap_caption.run.output import pack, read_output

    run, _ = caption(tmp_path / "out", shards)
    path = run.folder.output("00001", 0)
    output = read_output(path)
    rows = output.table.to_pylist()
    for changed, said in [
        (rows[:-1], "has 9 rows where its input asks for 10"), ([rows[1], rows[0], *rows[2:]], "row 0 is of 000010001"),
        ([*rows[:-1], rows[0]], "row 9 is of"), ([rows[0] | {"org_caption": "x"}, *rows[1:]], "other texts than the input"),
        ([rows[0] | {"prompt_id": "x"}, *rows[1:]], r"\(x, 0\)"), ([rows[0] | {"status": "duplicate_key"}, *rows[1:]], "twice"),
    ]:  # fmt: skip
        path.write_bytes(pack(changed, output.facts))
        assert len(prove(run).problems) == 1
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(prove(run).problems[0])
    path.write_bytes(pack(rows, output.facts))
    assert not prove(run).problems and not prove(run, with_input=False).problems
    shutil.rmtree(shards)
    assert not prove(run, with_input=False).problems
    run.folder.output("stranger", 2).write_bytes(path.read_bytes())
    assert "stranger.g2.parquet is an output of no part" in prove(run, with_input=False).problems[0]


def test_a_retry_that_changed_another_row_is_found(tmp_path, shards):
    from recap_caption.run.output import pack, read_output

    run, _ = caption(tmp_path / "out", shards, FakeEngine(fail=0.3))
    Worker(run, FakeEngine(), "w", begin_retry(run, ("engine_error",))).work()
    path = next(path for path in run.folder.newest_outputs() if ".g1." in path.name)
    output = read_output(path)
    rows = output.table.to_pylist()
    copied = next(place for place, row in enumerate(rows) if row["status"] == "ok" and row["attempts"] == 1)
    rows[copied]["re_caption"] = "changed"
    path.write_bytes(pack(rows, output.facts))
    assert "changed without being asked again" in prove(run).problems[0]


def test_samples_that_share_a_key_across_shards_are_counted(tmp_path):
    for name in ("0.tar", "1.tar"):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_tar(tmp_path / "in" / name, members("a") | members(name[0]))
    run, _ = caption(tmp_path / "out", tmp_path / "in")
    assert prove(run).shared_keys() == 1 and not prove(run).problems


def test_progress_and_account(tmp_path, shards):
    (shards / "00000_stats.json").write_text('{"successes": 10}')
    wishes = Wishes()
    engine = Stopping(12, lambda: setattr(wishes, "term", True), devices=4)
    run = begin(tmp_path / "out", shards, engine)
    seen = Survey(run).look()
    assert (seen.parts, seen.committed, seen.done, seen.exact, seen.eta) == (3, 0, 0, False, None) and seen.rows == 30
    Worker(run, engine, "w", wishes=wishes).work()
    now = Survey(run).look()
    assert now.committed == 1 and now.done == 10 and now.rate == 0
    work(run, FakeEngine(devices=4))
    state = state_of(run, Survey(run).look())
    assert state["complete"] and state["rows_expected"] == 30 and state["rows_expected_exactly"]
    made = state["made"]
    assert made["gpu_hours"] == pytest.approx(4 * made["engine_hours"], abs=1e-5) and made["cost"] is None
    assert made["tokens_out"] == sum(row["n_output_tokens"] or 0 for row in rows_of(run)) and json.dumps(state)


def test_money_is_told_where_prices_are_known(tmp_path, shards):
    engine = FakeEngine("gpt-4o", identity={"provider": "openai"})
    run, _ = caption(tmp_path / "out", shards, engine)
    assert account(run)["cost"]["dollars"] > 0


def test_the_end_sweeps_what_the_dead_left(tmp_path, shards, capsys):
    run, _ = caption(tmp_path / "out", shards)
    run.folder.spool("00001", 0).mkdir(parents=True)
    (run.folder.captions / ".00001.parquet.dead.part").write_bytes(b"x")
    (run.folder.captions / ".00001.g1.parquet.living.part").write_bytes(b"x")
    (run.folder.leases / "00001.g0.lease").write_text("{}")
    assert end(run, None)["complete"] and "complete, 30 rows" in capsys.readouterr().err
    assert (
        not run.folder.leftovers(0)
        and run.folder.leftovers(1)
        and not list(run.folder.leases.iterdir())
        and not run.folder.spool("00001", 0).exists()
    )
    assert len(sample_outputs(run, most=11)) == 2 and len(sample_outputs(run)) == 3


def test_output_folders_that_cannot_be(tmp_path, shards):
    with pytest.raises(UserError, match="lies in the input"):
        begin(shards / "out", shards)
    (tmp_path / "other/captions").mkdir(parents=True)
    (tmp_path / "other/captions/x.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="captions already"):
        begin(tmp_path / "other", shards)
    with pytest.raises(DataError, match="no captioning run"):
        read_run(tmp_path / "absent")
    (tmp_path / "run.json").write_text('{"version": 99}')
    with pytest.raises(DataError, match="another version"):
        read_run(tmp_path)
