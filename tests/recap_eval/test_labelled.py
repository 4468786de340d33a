import json

import pytest
from fakes import Oracle
from support import lay_out, recap

from recap_eval.data.items import NAMELESS
from recap_eval.data.labelled import folder
from recap_eval.errors import DataError
from recap_eval.files import digest_json
from recap_eval.registry import choose_tasks
from recap_eval.runner import Options, measure

ROW = """
[birds]
kind = "zero-shot"
summary = "my birds"
reader = "recap_eval.data.labelled:folder"
options = {{ place = "birds"{options} }}
needs = ["birds"]
get = "ask me"
{more}
"""


@pytest.fixture
def birds(tmp_path):
    """Three classes; endings in both cases, and the files that a download leaves between images."""
    lay_out(tmp_path / "birds", ["snow_owl/b.PNG", "snow_owl/a.jpeg", "eel/1.webp", "wren/x.JPG"])
    for extra in ("snow_owl/.DS_Store", "eel/._1.webp", "eel/Thumbs.db", ".cache/junk.jpg", "README.txt"):
        path = tmp_path / "birds" / extra
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


def test_a_folder_is_read_in_order_of_names(birds):
    data = folder(birds, "birds")
    assert data.source == NAMELESS and data.classes == ["eel", "snow owl", "wren"]
    assert [image.key for image in data.images] == ["eel/1.webp", "snow_owl/a.jpeg", "snow_owl/b.PNG", "wren/x.JPG"]
    assert data.labels == [0, 1, 1, 2] and len(data.templates) == 80
    assert data.images[2].read_image() == (birds / "birds/snow_owl/b.PNG").read_bytes()
    assert data.settings == {"classes": digest_json(["eel", "snow owl", "wren"])[:8], "templates": "openai-80"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '{"wren": "a wren", "eel": "an eel", "snow_owl": "an owl"}'),
        ("classes.json", '["an eel", "an owl", "a wren"]'),
        ("classes.txt", "\ufeffan eel\r\nan owl\r\na wren\r\n\r\n"),
    ],
)
def test_class_names_from_a_file(birds, name, text):
    (birds / name).write_text(text, encoding="utf-8")
    data = folder(birds, "birds", classes=name)
    assert data.classes == ["an eel", "an owl", "a wren"] and data.labels == [0, 1, 1, 2]
    assert data.settings["classes"] != folder(birds, "birds").settings["classes"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("classes.txt", "eel\nowl", "2 classes, but there are 3 folders"),
        ("classes.txt", "eel\n\nowl\nwren", r"empty line \(2\)"),
        ("classes.txt", "\n", "is empty"),
        ("classes.json", '["eel", "owl", "wren", "emu"]', "4 classes, but there are 3 folders"),
        ("classes.json", '["eel", "owl", 3]', "no list of class names"),
        ("classes.json", '["eel", "owl", " "]', "no list of class names"),
        ("classes.json", "3", "no list of class names"),
        ("classes.json", "[", "not readable JSON"),
        ("classes.json", '{"eel": "a", "snow_owl": "b", "wrens": "c"}', "has no name for wren "),
        ("classes.json", '{"eel": "a", "emu": "d", "snow_owl": "b", "wren": "c"}', "names the folder emu, which is not there"),
        ("other.txt", "eel", "Cannot read"),
    ],
)
def test_class_files_that_do_not_fit(birds, name, text, words):
    (birds / name).write_text(text)
    with pytest.raises(DataError, match=words):
        folder(birds, "birds", classes="classes.txt" if name == "other.txt" else name)


@pytest.mark.parametrize(
    ("place", "extra", "words"),
    [
        ("bird", None, "bird is not a folder"),
        ("birds/eel", None, "holds no class folder"),
        ("birds", "emu/", "Class folder .*emu holds no image"),
        ("birds", "emu/notes.txt", "Class folder .*emu holds no image"),
        ("birds", "eel/scan.TIF", "scan.TIF is an image of a kind that is not read"),
        ("birds", "eel/more/2.jpg", "more is a folder in a class folder"),
    ],
)
def test_wrong_folders(birds, place, extra, words):
    if extra:
        path = birds / "birds" / extra
        (path if extra.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not extra.endswith("/"):
            path.write_text("")
    with pytest.raises(DataError, match=words):
        folder(birds, place)


def own_row(root, options="", more=""):
    (root / "tasks.toml").write_text(ROW.format(options=options, more=more))


def oracle_run(root, templates=""):
    """Measure the birds with an oracle that knows its four images as eel, owl, owl, owl."""
    own = choose_tasks("birds", root, templates)
    outcome = measure(Oracle(["eel", "snow owl", "snow owl", "snow owl"]), own, Options(root / "out", root, progress=False))
    return outcome


def test_a_row_of_ones_own_is_measured(tmp_path):
    lay_out(tmp_path / "birds", ["eel/1.png", "snow_owl/a.png", "snow_owl/b.png", "wren/x.png"])
    own_row(tmp_path, more='templates = "class-name"\nimages = 5\ntexts = 3')
    (result,) = oracle_run(tmp_path).results
    assert result.record["metrics"]["acc1"]["value"] == 0.75
    assert result.record["data"]["name"] == "birds"
    assert result.record["settings"]["templates"] == "class-name"
    assert result.record["settings"]["classes"] == digest_json(["eel", "snow owl", "wren"])[:8]
    assert result.record["incomplete"] == "4 images instead of 5" and result.partial


def test_other_templates_and_other_classes_are_other_questions(tmp_path):
    lay_out(tmp_path / "birds", ["eel/1.png", "snow_owl/a.png", "snow_owl/b.png", "wren/x.png"])
    own_row(tmp_path)
    found = [oracle_run(tmp_path).results[0], oracle_run(tmp_path, "class-name").results[0]]
    (tmp_path / "c.txt").write_text("eel\nsnow owl\nbird\n")
    own_row(tmp_path, ', classes = "c.txt"')
    found += [oracle_run(tmp_path).results[0], oracle_run(tmp_path, "class-name").results[0]]
    assert [result.record["settings"]["templates"] for result in found] == ["openai-80", "class-name"] * 2
    assert len({result.path for result in found}) == 4
    assert len(oracle_run(tmp_path).skipped) == 1


@pytest.mark.parametrize(
    ("options", "more", "words"),
    [
        (', classnames = "c.txt"', "", "cannot be called with options .*classnames"),
        ("", 'kind_of = "x"', "tasks.toml is not a table of tasks"),
    ],
)
def test_wrong_rows(tmp_path, options, more, words):
    lay_out(tmp_path / "birds", ["eel/1.png"])
    own_row(tmp_path, options, more)
    with pytest.raises(DataError, match=words):
        choose_tasks("birds", tmp_path)[0].load(tmp_path)


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        ("recap_eval.data.labeled:folder", "no reader of ours"),
        ("os:system", "no reader of ours"),
        ("recap_eval.data.unpack:unpack", "no reader of ours"),
        ("recap_eval.data.labelled:folders", "no attribute 'folders'"),
        ("folder", "no reader of ours"),
        ("recap_eval.data.scenes.locate:captioned", "cannot be called"),
    ],
)
def test_wrong_readers(tmp_path, reader, words):
    own_row(tmp_path)
    path = tmp_path / "tasks.toml"
    path.write_text(path.read_text().replace("recap_eval.data.labelled:folder", reader))
    with pytest.raises(DataError, match=words):
        choose_tasks("birds", tmp_path)[0].load(tmp_path)


def test_a_reader_of_another_kind_of_data(tmp_path):
    lay_out(tmp_path / "birds", ["eel/1.png"])
    own_row(tmp_path)
    path = tmp_path / "tasks.toml"
    path.write_text(path.read_text().replace("zero-shot", "retrieval"))
    with pytest.raises(DataError, match="kind 'retrieval', but its reader gives LabelledImages"):
        choose_tasks("birds", tmp_path)[0].load(tmp_path)


def test_list_tasks_says_which_are_there(tmp_path):
    own_row(tmp_path)
    done = recap("recap-eval", "list", "tasks", "--data", tmp_path, "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["birds"]["missing"] == ["birds"] and rows["birds"]["get"] == "ask me"
    assert rows["imagenet1k"]["missing"] == ["imagenet/val"] and rows["imagenet1k"]["suites"] == ["paper"]
    lay_out(tmp_path / "birds", ["eel/1.png"])
    (tmp_path / "imagenet" / "val").mkdir(parents=True)
    done = recap("recap-eval", "list", "tasks", "--data", tmp_path)
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "present  my birds" in lines["birds"] and " present " in lines["imagenet1k"] and " missing " in lines["imagenet-a"]
    assert "birds" not in done.stderr.replace(str(tmp_path), "")
