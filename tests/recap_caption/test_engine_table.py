"""Engines by name, one's own among them, and the options that name them."""

import argparse
import json
from dataclasses import asdict, fields

import pytest

from recap_caption.canon import LOSSLESS
from recap_caption.engine_options import DIALECTS, FORMS, PRECISIONS, EngineOptions, add_engine, engine_of
from recap_caption.engines import table, wording
from recap_eval.errors import UserError
from recap_eval.models.loading import PRECISIONS as KNOWN

OWN = """
class Mine:
    name, model_id, identity, about = "mine", "m", {"weights": "1"}, {}
    def __init__(self, options):
        self.options = options
    def caption(self, requests, keep):
        pass
    def close(self):
        pass

class Half:
    name, model_id = "half", "h"
    def __init__(self, options):
        pass

value = 3
"""


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_engine(parser)
    return engine_of(parser.parse_args([*words]))


def test_options_are_the_defaults_and_survive_a_record():
    assert parsed("--model", "m") == EngineOptions(model="m")
    found = parsed(
        "--model", "m", "--engine", "openai", "--image-size", "0448", "--send", "webp", "--extra-body", '{"b": 1, "a": [2]}',
        "--chat-template", "~/x", "--concurrency", "1e2",
    )  # fmt: skip
    assert (found.image_size, found.send, found.extra_body, found.concurrency) == ("448", "WEBP", '{"a": [2], "b": 1}', 100)
    assert "~" not in found.chat_template and EngineOptions(**json.loads(json.dumps(asdict(found)))) == found
    assert not any("key" in field.name and field.name != "api_key_env" for field in fields(EngineOptions))


def test_names_told_in_help_are_those_that_are_known():
    assert set(FORMS) == set(LOSSLESS) and tuple(wording.DIALECTS) == DIALECTS and PRECISIONS == KNOWN


def test_sides():
    assert EngineOptions().side(336) == 336 and EngineOptions().side(None) is None
    assert EngineOptions(image_size="original").side(336) is None and EngineOptions(image_size="64").side(None) == 64


@pytest.mark.parametrize(
    "words",
    [
        ("--image-size", "7"), ("--image-size", "huge"), ("--extra-body", "{"), ("--extra-body", "[1]"), ("--send", "jpeg"),
        ("--concurrency", "0"), ("--request-timeout", "inf"), ("--dialect", "x"), ("--batch-size", "-1"),
        ("--image-size", "9999"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense_are_refused(words, capsys):
    with pytest.raises(SystemExit) as found:
        parsed("--model", "m", *words)
    assert found.value.code == 2 and words[0] in capsys.readouterr().err


def test_a_model_is_needed_but_for_ones_own_engine():
    with pytest.raises(UserError, match="Which model"):
        parsed("--engine", "openai")
    assert parsed("--engine", "mine:make").model is None


def test_an_engine_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    options = EngineOptions(f"{tmp_path / 'mine.py'}:Mine", model="x")
    assert table.make(options).options is options


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("transformer", "Unknown engine"), ("{}:Other", "no 'Other'"), ("{}:value", "no 'value'"),
        ("{}:Half", "without identity"),
        ("no_such_module:make", "no module 'no_such_module'"), ("none.py:make", "does not exist"),
    ],
)  # fmt: skip
def test_what_is_no_engine_is_told(name, said, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    with pytest.raises(UserError, match=said) as found:
        table.make(EngineOptions(name.format(tmp_path / "mine.py")))
    assert found.value.hint
