"""What a captioner is asked: shipped prompts, files of one's own, options, hostile texts."""

import argparse
import random
from collections import Counter
from dataclasses import replace

import pytest

from recap_caption.prompt_options import add_prompt, prompts_of
from recap_caption.prompts import MissingText, Prompt, Sampling
from recap_caption.prompts.files import FOLDER, find_prompt, shipped
from recap_eval.errors import DataError, UserError

PAPER = "Please generate a detailed caption of this image. Please be as descriptive as possible."
WARM = Sampling(temperature=1.0, top_k=5)


def options(*words):
    parser = argparse.ArgumentParser()
    add_prompt(parser)
    return parser.parse_args([*words])


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_default_is_the_paper_s():
    (prompt,) = prompts_of(options())
    assert prompt == Prompt("paper", PAPER) and prompt.sampling == Sampling(128, 0.0, None, None)
    assert prompt.fill({}) == PAPER and prompt.seed(0, "k") is None and shipped()[0] == "paper"


@pytest.mark.parametrize("name", shipped())
def test_shipped_prompts_are_whole_and_say_where_they_are_from(name):
    entry = find_prompt(name)
    assert entry.prompt.id == name and entry.about and entry.source and (FOLDER / f"{name}.toml").is_file()
    texts = {"org_caption": "alt", "re_caption": "long"}
    assert "{" not in entry.prompt.fill(texts) and "\\" not in entry.prompt.text


def test_texts_are_filled_in_once_and_stay_in_a_line():
    prompt = Prompt("x", "A {org_caption} B {re_caption} C {org_caption} {other}")
    told = prompt.fill({"org_caption": "{re_caption}\n\n\x00{org_caption}\u2028 \\1", "re_caption": "é\ud800"})
    assert told == "A {re_caption} {org_caption} \\1 B é? C {re_caption} {org_caption} \\1 {other}"
    told.encode()


def test_a_blank_text_is_asked_about_otherwise_or_not_at_all():
    conditioned, fusion = find_prompt("conditioned").prompt, find_prompt("fusion").prompt
    assert {conditioned.fill({"org_caption": text}) for text in (None, "", " \n\t\x07")} == {PAPER}
    assert '"a dog"' in conditioned.fill({"org_caption": " a\ndog "})
    with pytest.raises(MissingText, match="no re_caption"):
        fusion.fill({"org_caption": "a"})
    assert fusion.fields == ("org_caption", "re_caption") and not fusion.sees_image


def test_seeds_differ_by_everything_that_tells_captions_apart():
    prompt = Prompt("x", "t", sampling=WARM)
    seeds = [prompt.seed(run, f"k{key}", sample) for run in (0, 1) for key in range(500) for sample in range(3)]
    assert len(set(seeds)) >= len(seeds) - 3 and all(0 <= seed < 2**31 for seed in seeds)
    assert prompt.seed(0, "k1") == prompt.seed(0, "k1", 0) != replace(prompt, id="y").seed(0, "k1")
    assert isinstance(prompt.seed(0, "\ud800"), int)
    halves = Counter(seed >> 30 for seed in seeds)
    assert abs(halves[0] - halves[1]) < 0.1 * len(seeds)


def test_a_file_of_ones_own_has_an_id_that_follows_its_content(tmp_path):
    text = 'text = "Say it: {org_caption}"\nsystem = "You."\nwithout = "Say."\n[sampling]\ntemperature = 0.5\ntop_p = 0.9\n'
    first = find_prompt(write(tmp_path / "mine.toml", text)).prompt
    same = find_prompt(write(tmp_path / "mine.toml", f'about = "x"\nsamples = 4\n{text}')).prompt
    other = find_prompt(write(tmp_path / "mine.toml", text.replace("0.9", "0.8"))).prompt
    assert first.id == same.id != other.id and first.id.startswith("mine-") and same.samples == 4
    assert first.sampling == Sampling(128, 0.5, None, 0.9) and first.system == "You."


WRONG = {
    "no toml": ("text = ", "no readable TOML"),
    "latin": (b'text = "\xe9"', "no readable TOML"),
    "no text": ('about = "x"', "holds no text"),
    "blank": ('text = " "', "holds no text"),
    "placeholder": ('text = "{caption}"', "{caption}"),
    "system": ('text = "a"\nsystem = "{org_caption}"', "in its system"),
    "without": ('text = "{org_caption}"\nwithout = "{re_caption}"', "in its without"),
    "unknown": ('text = "a"\nsistem = "b"', "'sistem'"),
    "sampling": ('text = "a"\n[sampling]\ntopk = 3', "'topk'"),
    "kind": ('text = "a"\nsamples = "3"', "wrong kind"),
    "bool": ('text = "a"\nsamples = true', "wrong kind"),
    "table": ('text = "a"\nsampling = 3', "wrong kind"),
    "bounds": ('text = "a"\n[sampling]\ntemperature = nan', "temperature = nan"),
    "none": ('text = "a"\n[sampling]\nmax_new_tokens = 0', "max_new_tokens = 0"),
    "greedy": ('text = "a"\n[sampling]\ntop_k = 5', "greedily"),
    "twins": ('text = "a"\nsamples = 2', "greedily"),
    "blind": ('text = "a"\nsees_image = false', "neither the image nor a text"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_said(text, said, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as found:
        find_prompt(str(path))
    assert said in found.value.what and str(path) in found.value.what and found.value.hint


def test_a_wrong_name_and_a_folder_are_told(tmp_path):
    with pytest.raises(UserError, match="Unknown prompt 'papr'") as found:
        find_prompt("papr")
    assert "'paper'" in found.value.hint
    with pytest.raises(UserError):
        find_prompt(str(tmp_path))
    with pytest.raises(UserError):
        find_prompt("")


def test_options_change_the_sampling_and_the_id():
    plain, warm = prompts_of(options("--prompt", "paper", "--prompt", "diverse", "--max-new-tokens", "64"))
    assert plain.id.startswith("paper-") and warm.id.startswith("diverse-") and plain.sampling.max_new_tokens == 64
    (kept,) = prompts_of(options("--max-new-tokens", "128"))
    assert kept.id == "paper"
    (more,) = prompts_of(options("--prompt", "diverse", "--samples", "5"))
    assert more.id == "diverse" and more.samples == 5
    (cold,) = prompts_of(options("--prompt", "conditioned", "--temperature", "0"))
    assert cold.sampling == Sampling() and cold.id.startswith("conditioned-")


@pytest.mark.parametrize(
    "words",
    [
        ("--prompt", "paper", "--prompt", "paper"), ("--samples", "2"), ("--top-k", "5"), ("--temperature", "-1"),
        ("--temperature", "nan"), ("--temperature", "1", "--top-p", "1.5"), ("--prompt", "diverse", "--temperature", "0"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(words):
    with pytest.raises(UserError) as found:
        prompts_of(options(*words))
    assert found.value.hint and not isinstance(found.value, DataError)


def test_filling_survives_random_text():
    rng, prompt = random.Random(0), Prompt("x", "<{org_caption}|{re_caption}>", without="-")
    alphabet = "{}orgcaption_re\\ \n\t\x00é字\ud800<|>"
    for _ in range(300):
        texts = {name: "".join(rng.choices(alphabet, k=rng.randrange(12))) for name in ("org_caption", "re_caption")}
        told = prompt.fill(texts)
        told.encode()
        clean = [" ".join(texts[name].replace("\x00", " ").replace("\ud800", "?").split()) for name in texts]
        assert told == ("<{}|{}>".format(*clean) if all(clean) else "-")
