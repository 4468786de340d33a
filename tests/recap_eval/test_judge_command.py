"""The judge as a user meets it: `t2i --metrics judge`, `judge estimate|check|submit|status|collect`, right and wrong words."""

import csv
import json
from types import SimpleNamespace

import pytest
from endpoints import KEY, BatchEndpoint, Endpoint, caption_of
from PIL import Image
from support import assert_two_line_error, recap

from recap_eval.cli import main

pytestmark = pytest.mark.serial
N = 12


def rate(body):
    text = body["messages"][0]["content"][1]["text"]
    if not text.startswith("[Image Caption]"):
        return "A"  # whatever comes first
    number = int(caption_of(body).split()[-1])
    return "I cannot say." if number == 7 else f"Rating: {1 + number % 5}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("RECAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(N):
            Image.new("RGB", (16, 12), (20 * number, 9, 9 if name == "a" else 99)).save(tmp_path / name / f"{number}.png")
    rows = [(f"{number}.png", f"<b>wall</b> {number}", f"p{number}", f"other {number}") for number in range(N)]
    for file, head, body in (
        ("list.csv", ("file", "prompt", "id", "second"), rows),
        ("human.csv", ("id", "rating"), [(f"p{number}", 1 + number % 5) for number in range(1, N)]),
    ):
        with (tmp_path / file).open("w") as stream:
            csv.writer(stream).writerows([head, *body])
    return tmp_path


def run(place, *words, code=0):
    done = recap("recap-eval", *words, cwd=place)
    assert done.returncode == code, done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def t2i(place, images, url, *more, code=0):
    words = ["--images", images, "--list", "list.csv", "--metrics", "judge", "--base-url", url, "--judge-model", "judge-1"]
    return run(place, "t2i", *words, *more, code=code)


def test_ratings_are_results_that_compare(place):
    with Endpoint(rate, key=KEY) as server:
        done = t2i(place, "a", server.url, "--price-in", "1", "--price-out", "1", "--json")
        assert (
            "12 questions to judge-1, 0 are answered already" in done.stderr and "at most about $0.01 (as given)" in done.stderr
        )
        (found,) = json.loads(done.stdout)["results"]
        server.say = lambda body: "I see." if "wall</b> 3" in str(body) else rate(body).replace("Rating: 1", "Rating: 2")
        t2i(place, "b", server.url)
    cell = found["metrics"]["rating"]
    assert cell["n"] == 11 and cell["scale"] == 1.0 and found["unrated"] == ["p7"] and not found["partial"]
    assert found["extra"]["refused"] == 1 and found["extra"]["cost_usd"] == pytest.approx(12 * 104e-6)
    assert found["settings"]["judge.model"] == "judge-1" and found["settings"]["judge.template"] == "paper"
    assert found["run"]["judge"]["answered_by"] == {"judge-1": 12} and len(found["run"]["judge"]["template_digest"]) == 64
    offline = t2i(place, "a", "http://127.0.0.1:9/v1", "--force", "--json")
    (again,) = json.loads(offline.stdout)["results"]
    assert again["metrics"] == found["metrics"] and again["run"]["judge"]["asked_now"] == 0
    compared = json.loads(run(place, "compare", "a", "b", "--json").stdout)["questions"]
    (line,) = compared
    assert line["task"] == "t2i-judge" and "10" in json.dumps(line)  # of twelve, both rated ten
    written = [path for path in place.rglob("*") if path.is_file()]
    assert all(KEY.encode() not in path.read_bytes() for path in written) and any(
        path.name == "judge.sqlite" for path in written
    )


def test_html_in_captions_and_answers_is_text(place):
    with Endpoint(lambda body: "Rating: 4\n<script>alert(1)</script>", key=KEY) as server:
        t2i(place, "a", server.url)
    run(place, "gallery", "a", "--list", "list.csv", "--out", "page.html")
    page = (place / "page.html").read_text()
    assert "&lt;b&gt;wall&lt;/b&gt; 3" in page and "<b>wall" not in page and "<script>alert" not in page
    assert "rating (1-5)" in page


def test_other_judges_do_not_share_a_column(place):
    with Endpoint(lambda body: "Rating: 3", key=KEY) as server:
        t2i(place, "a", server.url)
        t2i(place, "b", server.url, "--judge-detail", "low")
        assert len(server.bodies) == 2 * N
    done = recap("recap-eval", "compare", "a", "b", cwd=place)
    assert done.returncode == 1 and "settings.judge.detail" in done.stderr


def test_a_part_is_judged_the_same_of_every_model(place):
    with Endpoint(lambda body: "Rating: 3", key=KEY) as server:
        t2i(place, "a", server.url, "--judge-n", "5")
        first = {caption_of(body) for body in server.bodies}
        t2i(place, "b", server.url, "--judge-n", "5")
        assert len(first) == 5 and {caption_of(body) for body in server.bodies} == first and len(server.bodies) == 10


def test_failed_questions_stop_or_are_counted(place):
    with Endpoint(lambda body: "Rating: 3", lambda n, body: 400 if "wall</b> 4" in str(body) else None, key=KEY) as server:
        done = t2i(place, "a", server.url, code=1)
        assert "1 of 12 questions have no answer; the first, p4: refused: HTTP 400" in done.stderr
        (found,) = json.loads(t2i(place, "a", server.url, "--skip-bad", "--json").stdout)["results"]
        assert found["partial"] and found["extra"]["failed"] == 1 and found["metrics"]["rating"]["n"] == 11
        assert len(server.bodies) == 13 and found["skipped"][0]["item"] == "p4"


def test_a_judge_is_checked(place):
    words = ["judge", "check", "--images", "a", "--list", "list.csv", "--judge-model", "judge-1"]
    with Endpoint(rate, key=KEY) as server:
        words += ["--base-url", server.url]
        done = run(place, *words, "--judge-repeats", "2", "--truth", "human.csv")
        found = json.loads(run(place, *words, "--judge-repeats", "2", "--truth", "human.csv", "--json").stdout)
        pairs = run(place, *words, "--judge-template", "pairwise", "--other-column", "second").stdout
    assert "22 rated, 2 refused" in done.stdout and "truth: 1 items are not in it" in done.stdout
    assert found["spearman"] == pytest.approx(1) and found["kendall"] == pytest.approx(1) and found["spearman_n"] == 10
    assert found["repeat_agreement"] == found["repeat_alpha"] == 1 and (place / found["path"]).is_file()
    assert "0.0% of 12 pairs have the same verdict" in pairs and "100.0% [86.2%, 100.0%] of the verdicts go to" in pairs


def test_batches_from_the_command_line(place):
    words = ["--images", "a", "--list", "list.csv", "--judge-model", "judge-1"]
    with BatchEndpoint(lambda body: "Rating: 3", key=KEY) as server:
        at = ["--state", "state", "--base-url", server.url]
        assert "1 batches handed in" in run(place, "judge", "submit", *words, *at).stdout
        assert "in_progress" in run(place, "judge", "status", *at).stdout
        assert "1 batches are not finished" in run(place, "judge", "collect", *at).stdout
        server.finish("batch_0", lose=lambda n: "too large" if n == 3 else None)
        done = recap("recap-eval", "judge", "collect", *at, cwd=place)
        assert_two_line_error(done, 1, "1 questions came back without an answer", "too large", "judge submit")
        run(place, "judge", "submit", *words, *at)
        server.finish("batch_1")
        assert "1 answers taken in" in run(place, "judge", "collect", *at).stdout
        assert "Nothing to hand in" in run(place, "judge", "submit", *words, *at).stdout
        (found,) = json.loads(t2i(place, "a", server.url, "--json").stdout)["results"]
    assert found["metrics"]["rating"]["value"] == 3 and not server.bodies


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["--judge-template", "papr"], 2, ["'papr'", "'paper'"]),
        (["--judge-template", "pairwise"], 2, ["compares two captions", "--judge-template paper"]),
        (["--judge-n", "many"], 2, ["--judge-n many", "3000"]),
        (["--judge-temperature", "hot"], 2, ["--judge-temperature hot"]),
        (["--judge-seed", "1.5"], 2, ["--judge-seed 1.5"]),
        (["--max-cost", "1"], 2, ["needs a price", "--price-in"]),
        (["--price-in", "1"], 2, ["two parts"]),
        (["--base-url", "localhost:8000"], 2, ["no address of a server", "http://"]),
        (["--base-url", "http://me:pw@localhost:1/v1"], 2, ["localhost", "--api-key-env"]),
        (["--api-key-env", "NO_KEY_HERE"], 2, ["NO_KEY_HERE is empty"]),
    ],
)
def test_wrong_words(place, words, code, fragments, monkeypatch, capsys):
    monkeypatch.chdir(place)
    given = ["--images", "a", "--list", "list.csv", "--metrics", "judge", "--base-url", "http://127.0.0.1:9/v1"]
    done = SimpleNamespace(returncode=main(["t2i", *given, "--judge-model", "m", *words]), stderr=capsys.readouterr().err)
    assert_two_line_error(done, code, *fragments)
    assert "pw@" not in done.stderr


def test_a_model_of_ones_own_server_must_be_named(place):
    words = ["--images", "a", "--list", "list.csv", "--base-url", "http://127.0.0.1:9/v1"]
    assert_two_line_error(recap("recap-eval", "judge", "estimate", *words, cwd=place), 2, "--judge-model")
    done = recap("recap-eval", "judge", "check", *words, "--judge-model", "m", "--truth", "list.csv", cwd=place)
    assert_two_line_error(done, 1, "column 'rating'")


def test_a_dead_server_is_told_in_two_lines(place):
    done = t2i(place, "a", "http://127.0.0.1:9/v1", code=1)
    assert_two_line_error(done, 1, "Nobody answers: http://127.0.0.1:9/v1", "Start the server")
