"""`recap-eval compare`: arithmetic against scipy and a bootstrap, what is joined and what is told, words a user types."""

import json
import shutil

import numpy as np
import pytest
from records import RUN, put, scores
from scipy import stats as reference
from support import ROOT, assert_two_line_error, recap

from recap_eval.artifact import write_artifact
from recap_eval.compare import ALL, Against, Counts, compare, letter, same_run
from recap_eval.errors import DataError, UserError
from recap_eval.metrics.macro import macro_values
from recap_eval.report import comparison as shown
from recap_eval.stats import Estimate
from recap_eval.subjects import find_subjects

RNG = np.random.default_rng


def compared(root, *words, **options):
    return compare(find_subjects(list(words), root), **options)


def only(found):
    (question,) = found.questions
    return question


def test_with_an_image_an_item_it_is_scipys_paired_t_test(tmp_path):
    rng = RNG(0)
    ours, theirs = (rng.random(300) < 0.6).astype(float), (rng.random(300) < 0.7).astype(float)
    put(tmp_path, "t", "a", {"acc": scores(ours)})
    put(tmp_path, "t", "b", {"acc": scores(theirs)})
    (against,) = only(compared(tmp_path, "a", "b")).against
    paired = reference.ttest_rel(theirs, ours)
    interval = paired.confidence_interval(0.95)
    found = against.difference
    assert (found.value, found.low, found.high) == pytest.approx((theirs.mean() - ours.mean(), *interval), rel=1e-9)
    assert found.p_value == pytest.approx(paired.pvalue, rel=1e-9) and against.p_holm == found.p_value
    assert (against.counts.won, against.counts.lost) == (((theirs > ours).sum()), ((theirs < ours).sum()))
    assert against.counts.tied == (theirs == ours).sum() and against.counts.share == pytest.approx((theirs != ours).mean())


def test_clustered_interval_is_a_bootstraps_over_images(tmp_path):
    """Captions of an image that rise and fall together: the interval is the bootstrap's over images, not over captions."""
    rng, images, each = RNG(1), 400, 5
    owner = np.repeat(np.arange(images), each)
    ours = (rng.random(images * each) < 0.5).astype(float)
    theirs = np.where(np.repeat(rng.random(images) < 0.2, each), 1.0, ours)
    names = [f"x{image}" for image in owner]
    items = [f"{name}#{number}" for number, name in enumerate(names)]
    put(tmp_path, "t", "a", {"acc": scores(ours, names, items)})
    put(tmp_path, "t", "b", {"acc": scores(theirs, names, items)})
    found = only(compared(tmp_path, "a", "b")).against[0].difference
    sums = (theirs - ours).reshape(images, each).sum(axis=1)
    draws = rng.integers(0, images, (4000, images))
    low, high = np.quantile(sums[draws].mean(axis=1) / each, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found.n == 2000 and found.n_clusters == 400
    naive = reference.ttest_rel(theirs, ours).confidence_interval(0.95)
    assert found.high - found.low > 1.5 * (naive.high - naive.low)


def test_holm_runs_over_the_models_of_one_task_and_metric(tmp_path):
    rng = RNG(2)
    base = (rng.random(500) < 0.5).astype(float)
    for name, flips in (("a", 0.0), ("b", 0.02), ("c", 0.05), ("d", 0.2)):
        better = np.where(rng.random(500) < flips, 1.0, base)
        put(tmp_path, "t", name, {"acc": scores(better), "other": scores(rng.permutation(better))})
    found = compared(tmp_path, "a", "b", "c", "d", metrics=ALL)
    assert [question.metric for question in found.questions] == ["acc", "other"]
    for question in found.questions:
        raw = [against.difference.p_value for against in question.against]
        first, second, third = sorted(range(3), key=lambda i: raw[i])
        expected = [0.0] * 3
        expected[first] = min(1.0, 3 * raw[first])
        expected[second] = max(expected[first], min(1.0, 2 * raw[second]))
        expected[third] = max(expected[second], raw[third])
        assert [against.p_holm for against in question.against] == pytest.approx(expected, rel=1e-12)


def test_macro_averages_count_items_on_the_plain_metric(tmp_path):
    """Linearised values of a macro average are neither right nor wrong; kinds with few cases are not in it."""
    kinds = ["x"] * 30 + ["y"] * 60 + ["z"] * 10
    items = [f"i{number}" for number in range(100)]
    rng, kept = RNG(3), slice(0, 90)
    for name, share in (("a", 0.5), ("b", 0.8)):
        right = (rng.random(100) < share).astype(float)
        macro = scores(macro_values(right[kept], kinds[kept]), items=items[kept])
        put(tmp_path, "t", name, {"macro": macro, "acc": scores(right, items=items)})
    question = only(compared(tmp_path, "a", "b"))
    one, two = (subject.results[0].items("acc").values[:90] for subject in find_subjects(["a", "b"], tmp_path))
    counts = question.against[0].counts
    assert question.metric == "macro"
    assert (counts.won, counts.lost, counts.tied) == ((two > one).sum(), (two < one).sum(), (two == one).sum())
    means = [np.mean([part[:30].mean(), part[30:].mean()]) for part in (one, two)]
    assert question.against[0].difference.value == pytest.approx(means[1] - means[0], abs=1e-12)


def against(p, value=0.1, upward=True, images=50):
    found = Estimate(value, 0.01, 0.0, 0.2, 100, 100, p)
    return Against(1, found, found, upward, Counts(30, 20, 50, images), p)


def test_verdicts():
    assert against(0.01).verdict == "better" and against(0.01, -0.1).verdict == "worse"
    assert against(0.01, upward=False).verdict == "worse" and against(0.01, -0.1, upward=False).verdict == "better"
    assert against(0.05).verdict == "not separable" and against(0.01, images=9).verdict == "too few images differ"
    assert against(None).verdict == "too few images differ" and against(1.0, images=0).verdict == "same on every item"


def test_of_words_more_are_neither_better_nor_worse(tmp_path):
    for name, words in (("short", 3.0), ("long", 25.0)):
        put(tmp_path, "t", name, {"words": scores([words + n % 3 for n in range(40)])}, unit="words")
    (found,) = only(compared(tmp_path, "short", "long")).against
    assert found.verdict == "higher"
    (found,) = only(compared(tmp_path, "long", "short")).against
    assert found.verdict == "lower"


def test_where_less_is_better_fewer_wins(tmp_path):
    put(tmp_path, "t", "a", {"err": scores([1.0] * 40 + [0.0] * 40)}, higher_is_better=False)
    put(tmp_path, "t", "b", {"err": scores([0.0] * 39 + [1.0] + [0.0] * 40)}, higher_is_better=False)
    (found,) = only(compared(tmp_path, "a", "b")).against
    assert (found.counts.won, found.counts.lost) == (39, 0) and found.verdict == "better" and found.difference.value < 0


def test_five_wins_of_five_are_too_few(tmp_path):
    """scipy's t-test calls 5 : 0 of 1,000 items significant (p = 0.025); the exact sign test does not (p = 0.0625)."""
    put(tmp_path, "t", "a", {"acc": scores([0.0] * 1000)})
    put(tmp_path, "t", "b", {"acc": scores([1.0] * 5 + [0.0] * 995)})
    (found,) = only(compared(tmp_path, "a", "b")).against
    assert found.p_holm < 0.05 and found.verdict == "too few images differ"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"fingerprint": "e" * 64}, "B on t: data is eeeeeeeeeeee…, not dddddddddddd…"),
        ({"version": 2}, "B on t: task version is 2, not 1"),
        ({"settings": {"tie_rule": "half"}}, "B on t: settings.tie_rule is half, not expectation"),
        ({"limit": 2}, "B on t: measured on part of the items only, settings.limit is 2, not absent"),
    ],
)
def test_results_that_differ_in_protocol_are_told_and_not_joined(tmp_path, other, told):
    values = {"acc": scores([1, 0, 1])}
    put(tmp_path, "t", "a", values)
    put(tmp_path, "u", "a", values)
    put(tmp_path, "t", "b", values, **other)
    put(tmp_path, "u", "b", values)
    found = compared(tmp_path, "a", "b")
    assert [question.result.task for question in found.questions] == ["u"] and found.left_out == (told,)
    with pytest.raises(DataError, match="Nothing can be compared") as caught:
        compared(tmp_path, "a", "b", tasks={"t"})
    assert told in caught.value.what


@pytest.mark.parametrize(
    ("items", "told"),
    [
        (["i0", "i1"], "B on t, acc: 2 items, not 3"),
        (["i0", "i9", "i2"], "B on t, acc: other items: i9, not i1"),
    ],
)
def test_other_items_are_told_and_not_joined(tmp_path, items, told):
    """As with --skip-bad, where the protocol is the same and the unreadable images are not."""
    put(tmp_path, "t", "a", {"acc": scores([1, 0, 1])})
    put(tmp_path, "t", "b", {"acc": scores([1] * len(items), items=items)})
    put(tmp_path, "t", "c", {"acc": scores([1, 1, 1])})
    found = compared(tmp_path, "a", "b", "c")
    assert [one.model for one in only(found).against] == [2] and found.left_out == (told,)


def test_pairs_are_compared_where_a_third_model_is_missing(tmp_path):
    values = {"acc": scores([1, 0, 1])}
    for name, tasks in (("a", "tu"), ("b", "tuv"), ("c", "t")):
        for task in tasks:
            put(tmp_path, task, name, values)
    found = compared(tmp_path, "a", "b", "c")
    assert {question.result.task: [one.model for one in question.against] for question in found.questions} == {
        "t": [1, 2], "u": [1],
    }  # fmt: skip
    assert set(found.left_out) == {"C has no result on u", "A has no result on v", "C has no result on v"}


def test_two_ways_of_measuring_are_two_questions(tmp_path):
    for name in "ab":
        for templates in ("one", "two"):
            put(tmp_path, "t", name, {"acc": scores([1, 0, 1])}, settings={"templates": templates})
    put(tmp_path, "t", "a", {"acc": scores([1, 0])}, limit=2)
    found = compared(tmp_path, "a", "b")
    assert sorted(question.apart for question in found.questions) == ["templates one", "templates two"]
    assert len(found.left_out) == 1 and found.left_out[0].startswith("A on t: measured on part of the items only")


def test_partial_results_are_compared_with_their_like_and_say_so(tmp_path):
    for name in "ab":
        put(tmp_path, "t", name, {"acc": scores([1, 0])}, limit=2)
    found = compared(tmp_path, "a", "b")
    assert only(found).apart == "partial" and "t (partial)" in shown.terminal(found)


def test_missing_metrics_are_told(tmp_path):
    put(tmp_path, "t", "a", {"r1": scores([1, 0]), "r5": scores([1, 1])})
    put(tmp_path, "t", "b", {"r1": scores([1, 0])})
    found = compared(tmp_path, "a", "b", metrics=ALL)
    assert [question.metric for question in found.questions] == ["r1"]
    assert found.left_out == ("B on t, r5: it was not measured",)
    assert [question.metric for question in compared(tmp_path, "a", "b", metrics="r1").questions] == ["r1"]
    with pytest.raises(UserError, match="Unknown metric 'r2'"):
        compared(tmp_path, "a", "b", metrics="r2")


def test_words_for_models(tmp_path):
    values = {"acc": scores([1, 0])}
    one = put(tmp_path, "t", "org/alpha", values)
    two = put(tmp_path, "t", "beta", values)
    far = put(tmp_path / "other", "t", "gamma", values)
    folder = one.path.parent.name
    for word in ("org/alpha", "hf-hub:org/alpha", folder, "org/al", folder[:7], str(one.path.parent), f"{one.path.parent}/"):
        assert [subject.name for subject in find_subjects([word, "beta"], tmp_path)] == ["org/alpha", "beta"], word
    assert find_subjects(["beta", str(far.path.parent)], tmp_path)[1].results[0].record == far.record
    assert find_subjects(["beta"], tmp_path)[0].folder == two.path.parent


def test_a_models_own_folder_names_it_by_its_revision(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "w").write_text("weights")
    made = write_artifact(tmp_path / "run", "clip", "mine", ["w"], {}, {})
    put(tmp_path, "t", "mine", {"acc": scores([1, 0])}, revision="another")
    put(tmp_path, "t", "mine", {"acc": scores([1, 1])}, revision=made.revision)
    (found,) = find_subjects([str(tmp_path / "run")], tmp_path)
    assert found.results[0].record["model"]["revision"] == made.revision
    with pytest.raises(UserError, match="'mine' stands for 2 models"):
        find_subjects(["mine"], tmp_path)


def test_wrong_words_for_models(tmp_path):
    with pytest.raises(DataError, match="holds no result"):
        find_subjects(["a"], tmp_path)
    for seed in (0, 1):
        put(tmp_path, "t", f"run-s{seed}", {"acc": scores([1, 0])}, meta=RUN | {"p_original": 1.0, "seed": seed})
    with pytest.raises(UserError, match="'run-s' stands for 2 models") as caught:
        find_subjects(["run-s"], tmp_path)
    assert "run-s0-" in caught.value.what and "report" in caught.value.hint
    with pytest.raises(UserError, match="Unknown model 'rum-s1'") as caught:
        find_subjects(["rum-s1"], tmp_path)
    assert "'run-s1'" in caught.value.hint
    with pytest.raises(UserError, match="again"):
        find_subjects(["run-s0", "run-s0"], tmp_path)
    one, two = find_subjects(["run-s0", "run-s1"], tmp_path)
    assert same_run(one, two) and "another seed of A's run" in shown.terminal(compare([one, two]))


def test_models_of_unknown_making_are_not_two_seeds(tmp_path):
    for name in "ab":
        put(tmp_path, "t", name, {"acc": scores([1, 0])})
    assert not same_run(*find_subjects(["a", "b"], tmp_path))


def test_letters():
    assert [letter(number) for number in (0, 1, 25, 26)] == ["A", "B", "Z", "M27"]


def test_changed_items_are_refused(tmp_path):
    put(tmp_path, "t", "a", {"acc": scores([1, 0])})
    put(tmp_path, "t", "b", {"acc": scores([1, 0])}).path.with_suffix(".parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="missing or was changed"):
        compared(tmp_path, "a", "b")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command on the committed results of the scenes."""
    root = tmp_path_factory.mktemp("command")
    shutil.copytree(ROOT / "leaderboards", root / "leaderboards")
    return lambda *words: recap("recap-eval", "compare", *words, cwd=root)


def test_the_command_prints_what_the_records_hold(command):
    done = command("scenes-tiny-p1-s0", "scenes-tiny-p0-s0", "scenes-tiny-p0.5-s0", "--out", "made/abc.md")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    long = next(line for line in lines if line.startswith("scenes-long"))
    assert long.split()[:5] == ["scenes-long", "i2t_r1", "1000", "22.6", "B"] and long.endswith("B is better")
    assert "p (Holm)" in done.stdout and "Holm over the 2 models" in done.stdout and "not separable" in done.stdout
    assert "Training randomness is not in these intervals" in done.stdout and "i2t_r5" not in done.stdout
    record = json.loads(command("scenes-tiny-p1-s0", "scenes-tiny-p0-s0", "--tasks", "scenes-long", "--json").stdout)
    (question,) = record["questions"]
    assert question["baseline"]["value"] == 0.226 and question["against"][0]["difference"]["value"] == pytest.approx(0.425)
    assert question["against"][0]["verdict"] == "better" and question["against"][0]["items"]["won"] == 510
    both = command("scenes-tiny-p1-s0", "scenes-tiny-p0-s0", "--tasks", "scenes", "--metrics", "i2t_r1,t2i_r1")
    assert both.stdout.count("i2t_r1") == 2 and both.stdout.count("t2i_r1") == 2 and "acc1" not in both.stdout


def test_the_markdown_is_a_table(command, tmp_path):
    out = tmp_path / "ab.md"
    assert command("scenes-tiny-p1-s0", "scenes-tiny-p0-s0", "--out", out).returncode == 0
    text = out.read_text()
    assert text.startswith("# scenes-tiny-p0-s0 against scenes-tiny-p1-s0\n")
    assert "| scenes-long | i2t_r1 | 1000 | 22.6 | B | 65.1 | +42.5 |" in text


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["scenes-tiny-p1-s0"], 2, ["cannot be compared", "recap-eval compare A B"]),
        (["scenes-tiny-p1-s0", "scenes-tiny-p0-s9"], 2, ["'scenes-tiny-p0-s9'", "Did you mean 'scenes-tiny-p0-s"]),
        (["scenes-tiny-p1-s0", "scenes-tiny-p0"], 2, ["stands for 30 models"]),
        (["scenes-tiny-p1-s0", "scenes-tiny-p0-s0", "--tasks", "scenes-lang"], 2, ["'scenes-long'"]),
        (["scenes-tiny-p1-s0", "scenes-tiny-p0-s0", "--leaderboards", "nowhere"], 1, ["nowhere/results holds no result"]),
    ],
)
def test_wrong_words(command, words, code, fragments):
    assert_two_line_error(command(*words), code, *fragments)
