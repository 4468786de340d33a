"""MM-Vet: its prompt word for word, grades read strictly, skills, and a judge that misbehaves, over real HTTP."""

import json

import pytest
from answerers import Answerer, measure, value
from endpoints import KEY, Endpoint
from PIL import Image

from recap_eval.data.mm_vet import missing, read
from recap_eval.endpoint.address import Address, Key
from recap_eval.endpoint.client import Limits
from recap_eval.errors import DataError, UserError
from recap_eval.judge.asking import Setup
from recap_eval.judge.parsing import read_grade
from recap_eval.judge.questions import Item, Judge, questions_of
from recap_eval.judge.rating import Config
from recap_eval.judge.templates import find_template
from recap_eval.tasks.answered import Means

TABLE = {
    "v1_0": {"imagename": "a.png", "question": "What is x?", "answer": "-1<AND>-5", "capability": ["ocr", "math"]},
    "v1_1": {"imagename": "a.png", "question": "What is y?", "answer": "2", "capability": ["ocr"]},
    "v1_2": {"imagename": "b.png", "question": "Who | is\nthis?", "answer": "A<OR>B", "capability": ["rec", "know"]},
}


@pytest.fixture
def vet(tmp_path):
    folder = tmp_path / "data" / "mm-vet"
    (folder / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6), (40, 80, 120)).save(folder / "images" / name)
    (folder / "mm-vet.json").write_text(json.dumps(TABLE))
    return tmp_path / "data"


def judge(server, root, **other):
    setup = Setup(Address((server.url,), Key(KEY)), Limits(first_pause=0.01), other.pop("skip_bad", False), progress=False)
    return Means(judge=Config(Judge(find_template("mm-vet"), "grader"), setup, root / "judge.sqlite", **other))


def row(body):
    """Return question, right answer and answer of a request: the last row of its table."""
    return body["messages"][0]["content"][0]["text"].rpartition(" | 1.0\n\n")[2].split(" | ")


def test_the_question_is_the_authors():
    """As mm-vet_evaluator.py at acde843 joins it: the prompt, a line break, the row with an open last cell."""
    texts = ("2", "It is 2.", "What is y?")
    (question,) = questions_of([Item.of("k", None, *texts)], Judge(find_template("mm-vet"), "m"), 1, _no_digests())[0]
    body = question.body(question.picture())
    (part,) = body["messages"][0]["content"]
    assert part["type"] == "text" and "image" not in json.dumps(body["messages"])
    begin, _, last = part["text"].rpartition("\n\n")
    assert begin.startswith("Compare the ground truth and prediction from AI models, to give a correctness score for the ")
    assert begin.endswith("actual physical characteristics. | 1.0") and last == "What is y? | 2 | It is 2. | "
    assert part["text"].count("\n") == 12 and body["temperature"] == 0 and question.size() == (0, 0)


def _no_digests():
    from recap_eval.data.digests import Digests

    return Digests(None, False)


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("0.5", 0.5), ("1.0", 1), ("0", 0), ("1", 1), ("0.0\n", 0), (" **0.7** ", 0.7), ("0.8.", 0.8), ("0.25", 0.25),
        ("0.4 because of it", 0.4), ("Correctness: 0.3", 0.3), ("| 0.9 |", 0.9), ("1.00", 1),
        ("1.5", None), ("-0.5", None), ("nan", None), ("0.5 or 0.6", None), ("50%", None), ("0,5", None), ("5/10", None),
        ("", None), ("0.5 / 1", None), ("one", None), ("\u0661.0", None), ("10", None), ("0.1234", None), ("it is 0.5", None),
        ("1e-1", None),
    ],
)  # fmt: skip
def test_grades_are_read_strictly(answer, grade):
    if grade is None:
        with pytest.raises(ValueError, match="number from 0 to 1"):
            read_grade(answer)
    else:
        assert read_grade(answer) == grade


@pytest.mark.serial
def test_grades_by_skill_and_clusters_by_image(vet, tmp_path):
    grades = {"What is x?": "0.5", "What is y?": "1.0", "Who": "0.0"}
    captioner = Answerer(lambda key: f"answer {key}")
    with Endpoint(lambda body: grades[row(body)[0]], key=KEY) as server:
        result = measure(captioner, "mm-vet", vet, tmp_path, means=judge(server, tmp_path))
        asked = {tuple(row(body)[:2]) for body in server.bodies}
        assert asked == {("What is x?", "-1 <AND> -5"), ("What is y?", "2"), ("Who", "is\nthis?")}
        again = measure(captioner, "mm-vet", vet, tmp_path, means=judge(server, tmp_path), force=True)
        assert len(server.bodies) == 3 and len(captioner.asked) == 3 and value(again, "grade") == value(result, "grade")
    assert value(result, "grade") == 0.5 and result.record["metrics"]["grade"]["n_clusters"] == 2
    assert {name: value(result, f"grade:{name}") for name in ("ocr", "math", "rec", "know")} == {
        "ocr": 0.75, "math": 0.5, "rec": 0, "know": 0,
    }  # fmt: skip
    assert "grade:gen" not in result.record["metrics"] and result.record["settings"]["judge.model"] == "grader"
    lines = [json.loads(line) for line in (result.path.with_suffix(".answers.jsonl")).read_text().splitlines()]
    assert [(one["id"], one["answer"], one["read"], one["value"]) for one in lines][1] == ("v1_1", "answer v1_1", "1", 1.0)
    assert result.record["incomplete"] == "3 questions instead of 218"


@pytest.mark.serial
def test_what_the_judge_does_not_grade_bounds_the_mean(vet, tmp_path):
    with Endpoint(lambda body: "0.8" if row(body)[0] == "What is y?" else "I cannot say", key=KEY) as server:
        result = measure(Answerer(lambda key: "x"), "mm-vet", vet, tmp_path, means=judge(server, tmp_path))
    assert value(result, "grade") == 0.8 and result.record["metrics"]["grade"]["n"] == 1
    extra = result.record["extra"]
    assert extra["if_all_lowest"] == pytest.approx(0.8 / 3) and extra["if_all_highest"] == pytest.approx(2.8 / 3)
    assert result.record["unrated"] == ["v1_0", "v1_2"] and "give no figure" in result.record["warnings"][0]


@pytest.mark.serial
def test_failed_grades_stop_the_result_and_answers_are_kept(vet, tmp_path):
    captioner = Answerer(lambda key: "x")
    with Endpoint(lambda body: "1.0", key=KEY, faults=lambda n, body: 400 if row(body)[0] == "What is x?" else None) as server:
        with pytest.raises(DataError, match="1 of 3 questions have no answer"):
            measure(captioner, "mm-vet", vet, tmp_path, means=judge(server, tmp_path))
        partial = measure(
            captioner, "mm-vet", vet, tmp_path, means=judge(server, tmp_path, skip_bad=True), skip_bad=True
        )  # fmt: skip
    assert len(captioner.asked) == 3 and partial.partial and value(partial, "grade") == 1
    assert [one["item"] for one in partial.record["skipped"]] == ["v1_0"]


def test_a_judge_is_needed_before_anything_is_asked(vet, tmp_path):
    captioner = Answerer(lambda key: "x")
    with pytest.raises(UserError, match="needs a judge"):
        measure(captioner, "mm-vet", vet, tmp_path)
    keyless = Means(judge=Config(Judge(find_template("mm-vet"), "m"), Setup(Address()), tmp_path / "j.sqlite"))
    with pytest.raises(DataError, match="asks for a key"):
        measure(captioner, "mm-vet", vet, tmp_path, means=keyless)
    assert not captioner.asked


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda table: table["v1_0"].update(capability=["smell"]), "asks for 'smell'"),
        (lambda table: table["v1_0"].pop("answer"), "no 'answer'"),
        (lambda table: table["v1_0"].update(imagename="gone.png"), "1 of 3 images"),
        (lambda table: table.clear(), "no table of questions"),
    ],
)
def test_wrong_files(vet, change, fragment):
    table = json.loads(json.dumps(TABLE))
    change(table)
    (vet / "mm-vet" / "mm-vet.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=fragment):
        read(vet)


def test_what_is_missing(vet, tmp_path):
    assert missing(vet) == [] and missing(tmp_path) == ["mm-vet/mm-vet.json", "mm-vet/images"]
