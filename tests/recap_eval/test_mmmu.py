"""MMMU: answers are read as its authors read them, nothing of its files is executed, known captioners score as they must."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from answerers import Answerer, measure, value
from PIL import Image

from recap_eval.data.mmmu import DISCIPLINES, SUBJECTS, missing, read
from recap_eval.errors import DataError, UserError
from recap_eval.tasks.answered import Means
from recap_eval.tasks.mmmu_answers import is_right, read_choice

OPTIONS = ("a red circle", "A square", "x", "12 cm")
# What eval_utils.py of github.com/MMMU-Benchmark/MMMU at bb0b95a945998d91dfef37e969e07d49d1139438 makes of these answers; None
# where it draws an option at random.
CHOICES = {
    "B": "B",
    "(B)": "B",
    "B.": "B",
    "b": None,
    "(b)": None,
    "Answer: B": "B",
    "The answer is B": "B",
    "The answer is B.": "B",
    "The answer is (C), not (B)": "B",
    "(A) or (B)?": "B",
    "A, B, C and D": "D",
    "A B C D": "D",
    "D\nC": None,
    "B)": None,
    "[B]": None,
    "**B**": None,
    "It shows A square in the middle of it": "A",
    "it shows a red circle and then a square here": "B",
    "I see x in six words here": "C",
    "A man sees the fourth option, D": "D",
    "": None,
    "   ": None,
    "...": None,
    "Option C: x": None,
    "C: x": None,
    "'C'": "C",
    "(E)": None,
    "E": None,
    "I cannot tell": None,
    "I choose A because B is wrong": "B",
    "a red circle": None,
    "It must be the one with 12 CM, clearly so": "D",
    "AB": None,
    "(A)(B)(C)(D)": "D",
    "The answer is  C  .": "C",
    "\uff22": None,
    "ignore all options": None,
    "(D) 12 cm\n\n(A) a red circle": "A",
    "A) no, (C)": "C",
}
OPEN = [
    ("8", ["8"], True),
    ("8.0", ["8"], True),
    ("The answer is 8.", ["8"], True),
    ("8 apples", ["8"], True),
    ("18", ["8"], False),
    ("1,000", ["1000"], True),
    ("1000.004", ["1000"], True),
    ("1000.006", ["1000"], False),
    ("It is 1,234,567.89 in all", ["1234567.89"], False),
    ("1e3", ["1000"], True),
    ("about 3.14159", ["3.14"], True),
    ("x = 5", ["5"], True),
    ("x = 5\nso y = 6", ["5"], False),
    ("x = 5\nso y = 6", ["6"], True),
    ("-141", ["-141"], True),
    ("minus 141", ["-141"], False),
    ("the result is -141 V", ["-141"], True),
    ("It could be 1/64 or 1/32", ["1/64"], True),
    ("This is a TRANSFORMATION of it", ["Transformation"], True),
    ("transform", ["Transformation"], False),
    ("C", ["C"], True),
    ("Carbon", ["C"], False),
    ("vitamin C is good", ["C"], False),
    ("vitamin c", ["C"], True),
    ("", ["8"], False),
    ("30%", ["30"], True),
    ("mgs", ["$MgS$", "MgS"], True),
    ("MgO", ["$MgS$", "MgS"], False),
    ("nan", ["nan"], False),
    ("inf", ["inf"], True),
    ("2.675", ["2.67"], True),
    ("2.675", ["2.68"], False),
    ("so it goes: :", ["8"], False),
    ("therefore .5 is left", ["0.5"], False),
    ("8 is the answer", ["8"], False),
    ("first 3. Then 4", ["3"], True),
    ("five", ["5"], False),
    ("8,000,00", ["8000"], True),
    ("1_000", ["1000"], True),
    ("0.29", ["0.286"], True),
    ("28.6%", ["0.286"], False),
]


@pytest.mark.parametrize(("answer", "letter"), CHOICES.items())
def test_choices_are_read_as_the_authors_read_them(answer, letter):
    assert read_choice(answer, OPTIONS) == letter


@pytest.mark.parametrize(("answer", "right", "holds"), OPEN)
def test_open_answers_are_read_as_the_authors_read_them(answer, right, holds):
    assert is_right(answer, right) is holds


def png(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "x.png"}


def row(number, subject="Art", **other):
    facts = {"id": f"validation_{subject}_{number}", "question": f"What is <image 1>? ({number})", "answer": "B"}
    facts |= {"options": "['a red circle', \"A square\", 'x', '12 cm']", "question_type": "multiple-choice"}
    facts |= {f"image_{place}": png(10 * number) if place == 1 else None for place in range(1, 8)}
    return facts | other


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "question", "options", "answer", "question_type")]
    + [(f"image_{place}", IMAGE) for place in range(1, 8)]
)


def lay_out(root, rows, subject="Art"):
    folder = root / "mmmu" / subject
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "validation-00000-of-00001.parquet")
    return root


def test_the_layout_of_the_hub_is_read(tmp_path):
    two = {"image_2": png(200), "question": "Which is larger, <image 2> or <image 1>?"}
    open_one = {"question_type": "open", "options": "[]", "answer": "['24/7', '3.429']"}
    lay_out(
        tmp_path,
        [
            row(1),
            row(2, **two),
            row(3, **open_one),
            row(
                4,
                **open_one,
            )
            | {"answer": "[not a list"},
        ],
    )
    data = read(tmp_path)
    first, second, third, fourth = data.items
    assert first.parts[1] == (
        "What is <image 1>? (1)\n(A) a red circle\n(B) A square\n(C) x\n(D) 12 cm\n\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert (
        first.right == ["B"] and first.groups == ("art_and_design", "Art") and first.images[0].read_image() == png(10)["bytes"]
    )
    assert third.parts[1] == "What is <image 1>? (3)\nAnswer the question using a single word or phrase."
    assert third.right == ["24/7", "3.429"] and fourth.right == ["[not a list"] and not third.options
    assert [image.key for image in second.images] == ["validation_Art_2/image_1"] and "<image 2>" in second.words[0]
    assert data.incomplete == "4 questions instead of 900"
    shown = read(tmp_path, "all").items[1]
    assert [image.key[-1] for image in shown.images] == ["2", "1"] and shown.parts[0] == "Which is larger, "


def test_subjects_and_what_is_missing(tmp_path):
    assert len(SUBJECTS) == 30 and len(DISCIPLINES) == 6 and missing(tmp_path) == ["mmmu/SUBJECT/validation-*.parquet"]
    assert missing(lay_out(tmp_path, [row(1)])) == []


@pytest.mark.parametrize(
    ("other", "fragment"),
    [
        ({"options": "__import__('pathlib').Path('{mark}').touch()"}, "no list"),
        ({"options": "[" * 5000}, "no list"),
        ({"options": "[]"}, "no list of 1"),
        ({"answer": "E"}, "none of its 4 options"),
        ({"answer": "AB"}, "none of its 4 options"),
        ({"answer": ""}, "none of its 4 options"),
        ({"question": None}, "lacks one of"),
    ],
)
def test_hostile_and_damaged_rows(tmp_path, other, fragment):
    mark = tmp_path / "executed"
    other = {name: text and text.replace("{mark}", str(mark)) for name, text in other.items()}
    with pytest.raises(DataError, match=fragment):
        read(lay_out(tmp_path, [row(1, **other)]))
    assert not mark.exists()


def test_other_wrong_layouts(tmp_path):
    with pytest.raises(UserError, match="unknown"):
        read(tmp_path, "some")
    with pytest.raises(DataError, match="twice"):
        read(lay_out(tmp_path, [row(1), row(1)]))
    path = tmp_path / "mmmu" / "Art" / "validation-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["image_7"]), path)
    with pytest.raises(DataError, match="no column 'image_7'"):
        read(tmp_path)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable parquet"):
        read(tmp_path)


@pytest.fixture
def exam(tmp_path):
    """Six questions: four choices in two subjects, two open ones."""
    open_one = {"question_type": "open", "options": "[]", "answer": "8"}
    lay_out(tmp_path, [row(1), row(2), row(3, **open_one)])
    return lay_out(tmp_path, [row(1, "Math"), row(2, "Math"), row(3, "Math", **open_one)], "Math")


def test_a_perfect_captioner_scores_1(exam, tmp_path):
    right = {item.key: item.right[0] for item in read(exam).items}
    result = measure(Answerer(lambda key: f"The answer is {right[key]}."), "mmmu", exam, tmp_path)
    assert {name: cell["value"] for name, cell in result.record["metrics"].items()} == dict.fromkeys(
        ("acc", "acc:multiple_choice", "acc:open", "acc:art_and_design", "acc:science"), 1.0
    )
    assert result.partial and result.record["incomplete"] == "6 questions instead of 900" and "warnings" not in result.record
    assert result.record["details"]["subjects"]["Math"] == {"acc": 1.0, "n": 3}
    assert value(result, "acc") == 1 and result.record["metrics"]["acc"]["chance"] == pytest.approx(4 * 0.25 / 6)


@pytest.mark.parametrize("answer", ["", "Ignore the question. Correct: nan", "(Z)", "abcd " * 50])
def test_a_captioner_that_names_no_option_is_wrong_and_what_a_draw_would_give_is_told(exam, tmp_path, answer):
    result = measure(Answerer(lambda key: answer), "mmmu", exam, tmp_path)
    assert value(result, "acc") == 0 and result.record["extra"]["no_option_named"] == 4
    assert result.record["extra"]["acc_if_drawn"] == pytest.approx(4 * 0.25 / 6)
    assert "draws one at random, which gives 16.7 on average" in result.record["warnings"][0]
    items = result.items("acc")
    assert items.given == [answer] * 6 and np.array_equal(items.values, np.zeros(6))


def test_which_images_are_shown_is_another_question(exam, tmp_path):
    captioner = Answerer(lambda key: "B")
    first = measure(captioner, "mmmu", exam, tmp_path)
    second = measure(captioner, "mmmu", exam, tmp_path, means=Means(images="all"))
    assert first.path != second.path and [one.record["settings"]["images"] for one in (first, second)] == ["first", "all"]
    assert len(captioner.asked) == 6, "equal questions of two subjects are asked once"
    assert value(first, "acc") == pytest.approx(4 / 6)
