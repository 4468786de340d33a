"""The engine in this process, against transformers used plainly: a tiny LLaVA of random weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from asked import SHORT, answers, gone, png, request
from tiny_llava import TEMPLATE, make_llava

from recap_caption.engine_options import EngineOptions
from recap_caption.engines import table
from recap_caption.engines.loading import load, revision_of_folder
from recap_caption.prompts import Prompt, Sampling
from recap_eval.errors import DataError, UserError

WARM = Sampling(12, temperature=1.0, top_k=20)
CHATTY = "{% for m in messages %}[{{ m['role'] }}]{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}" + (
    "{{ p['text'] }}{% endif %}{% endfor %}<pad>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_llava(tmp_path_factory.mktemp("llava") / "tiny")


def engine(folder, **other):
    return table.make(EngineOptions("transformers", str(folder), device="cpu", **other))


@pytest.fixture(scope="module")
def eight(folder):
    return engine(folder, batch_size=8)


@pytest.fixture(scope="module")
def one(folder):
    return engine(folder, batch_size=1)


@pytest.fixture
def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edited(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def mixed(n=21, sampling=SHORT):
    """Requests whose texts differ in length."""
    prompt = Prompt("x", "The web says: {org_caption}. Describe it.", sampling=sampling)
    return [request(i, prompt.fill({"org_caption": "word " * (1 + i * 7 % 13)}), sampling) for i in range(n)]


@pytest.mark.parametrize("sampling", [SHORT, WARM, replace(WARM, top_k=None, top_p=0.8)], ids=["greedy", "top-k", "top-p"])
def test_a_batch_of_8_and_of_1_say_the_same(eight, one, sampling):
    ours, theirs = answers(eight, mixed(sampling=sampling)), answers(one, mixed(sampling=sampling))
    assert {place: reply.caption for place, reply in ours.items()} == {place: reply.caption for place, reply in theirs.items()}
    assert len({reply.caption for reply in ours.values()}) > 5
    for place, reply in ours.items():
        other = theirs[place]
        assert reply.n_prompt_tokens == other.n_prompt_tokens and reply.n_output_tokens == other.n_output_tokens
        assert reply.mean_logprob == pytest.approx(other.mean_logprob, abs=1e-4)


def test_seeds_make_captions_and_nothing_else_does(eight):
    same = [request(i, sampling=WARM, image=png(0), seed=7 + i // 2) for i in range(8)]
    found = answers(eight, same)
    captions = [found[i].caption for i in range(8)]
    assert captions[::2] == captions[1::2] and len(set(captions)) == 4
    assert {i: reply.caption for i, reply in answers(eight, same[::-1]).items()} == dict(enumerate(captions))


def plainly(folder, payload, text, tokens=12):
    """Caption as transformers' documentation does, with LLaVA-1.5's own padding; returns text and mean log-probability."""
    import io

    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    sizes = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    processor.image_processor = LlavaImageProcessorPil(do_pad=True, **sizes)
    image = Image.open(io.BytesIO(payload)).convert("RGB")
    messages = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        start = inputs["input_ids"].shape[1]
        logits = model(input_ids=out, pixel_values=inputs["pixel_values"]).logits[0, start - 1 : -1]
    sure = logits.log_softmax(-1).gather(1, out[0, start:, None]).mean().item()
    return processor.decode(out[0, start:], skip_special_tokens=True), sure


@pytest.mark.parametrize("place", range(4))
def test_captions_are_those_of_plain_transformers(eight, folder, place):
    reply = answers(eight, [request(place)])[place]
    text, sure = plainly(folder, png(place), "Describe this image.")
    assert reply.caption == text and reply.mean_logprob == pytest.approx(sure, abs=1e-4)
    assert (reply.finish_reason, reply.n_output_tokens, reply.attempts) == ("length", 12, 1)
    assert reply.n_prompt_tokens == 4 + len("\nDescribe this image.") and reply.width and reply.height


def test_pixels_and_tokens_are_the_processor_s_own_or_the_processor_s(folder, eight):
    native = engine(folder, image_size="original")
    assert eight.about["pixels"] == "ours" and native.about["pixels"] == "the processor's"
    assert eight.identity["images"]["side"] == 28 and native.identity["images"]["side"] is None
    square = [request(i, image=png(i, (28, 28))) for i in range(9)]
    ours, theirs = answers(eight, square), answers(native, square)
    assert [ours[i].caption for i in range(9)] == [theirs[i].caption for i in range(9)]
    assert [ours[i].n_prompt_tokens for i in range(9)] == [theirs[i].n_prompt_tokens for i in range(9)]
    wide = [request(i, image=png(i, (28, 84))) for i in range(9)]
    assert answers(native, wide)[3].caption != answers(eight, wide)[3].caption


def test_what_cannot_be_read_is_a_reply_among_the_others(eight):
    bad = {2: b"no image", 3: gone, 5: png(5)[:90], 11: png(0, (1, 9))}
    found = answers(eight, [request(i, image=bad.get(i, True)) for i in range(12)])
    assert {place: found[place].error_type for place in bad} == {
        2: "unreadable", 3: "unreadable", 5: "unreadable", 11: "too_small"
    }  # fmt: skip
    assert all((found[i].status == "ok") == (i not in bad) for i in range(12)) and "not there" in found[3].error
    assert answers(eight, [request(0, image=b"")])[0].status == "bad_image" and answers(eight, []) == {}


def test_a_question_without_image_and_one_too_long(eight):
    found = answers(
        eight,
        [
            request(0, image=None),
            request(1),
            request(2, "x" * 2100, image=None),
            request(3, "y" * 1500),
            request(4, "y" * 1600),
        ],
    )
    assert [found[i].status for i in range(5)] == ["ok", "ok", "engine_error", "ok", "ok"]
    assert found[2].error_type == "TooLong" and found[0].width is None and "2048" in found[2].error
    assert found[3].caption == answers(eight, [request(3, "y" * 1500)])[3].caption


@pytest.mark.parametrize("token", ["<image>", "</s>", "<pad>", "<s>", "<<image>image>"])
def test_special_tokens_in_alt_text_are_text(eight, token):
    found = answers(eight, [request(0, f"a {token * 3} b"), request(1, f"a {token}", system=None), request(2, token)])
    assert all(reply.status == "ok" for reply in found.values())
    question = eight._inputs.question(f"a {token} b", None, True)
    special = eight._inputs._chat.tokenizer.all_special_ids
    assert sum(id in special for id in question.ids) == 4 == question.ids.count(3)  # the image's own


def test_the_end_is_the_checkpoint_s(copied, eight):
    from recap_caption.canon import Canon

    question, picture = eight._inputs.question("Describe this image.", None, True), Canon(28).make(png(0), "x")
    inputs = eight._inputs.batch([question], [eight._inputs.picture(picture)])
    row = eight._generating._model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, -12:].tolist()
    end = next(token for token in row[1:] if token != row[0])  # a token that its greedy answer comes to
    found = engine(edited(copied, "generation_config.json", eos_token_id=[2, end]))
    reply = answers(found, [request(0), request(1, "x" * 60)])[0]
    assert found.identity["generation"]["ends"] == [2, end]
    assert (reply.finish_reason, reply.n_output_tokens) == ("stop", row.index(end) + 1)


def test_the_end_is_also_what_the_template_puts_after_an_answer(copied):
    (copied / "chat_template.jinja").write_text(CHATTY)
    found = engine(copied)
    assert found.identity["generation"]["ends"] == [2, 0]
    assert answers(found, [request(0, system="You see.")])[0].status == "ok"
    (copied / "chat_template.jinja").write_text(CHATTY.replace("<pad>", "."))
    assert engine(copied).identity["generation"]["ends"] == [2]


def test_the_first_token_is_not_doubled(copied):
    (copied / "chat_template.jinja").write_text("<s>" + TEMPLATE)
    assert engine(copied)._inputs.question("a", None, True).ids.count(1) == 1


def test_memory_that_ends_halves_the_batch(folder, monkeypatch, capsys):
    small = engine(folder, batch_size=8)
    whole, sizes = small._generating.answer, []

    def answer(questions, *rest):
        sizes.append(len(questions))
        if len(questions) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(questions, *rest)

    monkeypatch.setattr(small._generating, "answer", answer)
    found = answers(small, mixed(20))
    assert all(reply.status == "ok" for reply in found.values()) and max(sizes[3:]) <= 4 and small.batch_size == 2
    assert "do not fit into memory" in capsys.readouterr().err
    monkeypatch.setattr(small._generating, "answer", lambda *all: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(DataError, match="no memory for a single caption"):
        answers(small, mixed(3))


def test_requests_are_not_read_far_ahead(eight):
    kept, read = [], []

    def requests():
        for i in range(200):
            read.append(i)
            assert len(read) - len(kept) <= 8 * 4 + 8
            yield request(i, "x" * (1 + i % 9))

    eight.caption(requests(), lambda one, reply: kept.append(one.place))
    assert sorted(kept) == list(range(200))
    read.clear(), kept.clear()
    alike = (read.append(i) or request(i) for i in range(40))
    eight.caption(alike, lambda one, reply: kept.append(len(read)))
    assert kept[0] == 8


def test_bf16_and_a_template_of_ones_own(folder, tmp_path):
    (tmp_path / "mine.jinja").write_text("Q: " + TEMPLATE)
    half, own = engine(folder, precision="bf16"), engine(folder, chat_template=str(tmp_path / "mine.jinja"))
    assert half._inputs.is_plain and answers(half, [request(0)])[0].status == "ok"
    assert answers(own, [request(0)])[0].n_prompt_tokens == answers(half, [request(0)])[0].n_prompt_tokens + 3
    assert half.identity["precision"] == "bf16" and half.identity != own.identity


def test_identity_follows_what_decides_captions(folder, copied, eight):
    assert engine(copied, batch_size=3).identity == eight.identity
    assert eight.model_id.startswith("tiny@") and json.dumps(eight.identity) and json.dumps(eight.about)
    before = revision_of_folder(copied)
    (copied / "README.md").write_text("x")
    assert revision_of_folder(copied) == before
    weights = copied / "model.safetensors"
    payload = bytearray(weights.read_bytes())
    payload[-1] ^= 1
    weights.write_bytes(payload)
    assert revision_of_folder(copied) != before
    assert engine(edited(copied, "generation_config.json", repetition_penalty=1.5)).identity["generation"] == {
        "ends": [2], "repetition_penalty": 1.5
    }  # fmt: skip


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled(folder):
    no_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def lacking(folder):
    from safetensors.torch import load_file, save_file

    found = load_file(folder / "model.safetensors")
    found.pop(next(iter(found)))
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def original(folder):
    edited(folder, "config.json", model_type="llava_mistral")


def another_kind(folder):
    edited(folder, "config.json", model_type="bert")


def no_processor(folder):
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def no_config(folder):
    (folder / "config.json").write_text("{")


DAMAGE = {
    no_weights: "holds no *.safetensors", pickled: "holds no *.safetensors", lacking: "lacks weights", cut: "Cannot load",
    original: "LLaVA's own code", another_kind: "Cannot load", no_processor: "Cannot load", no_config: "not readable JSON",
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGE.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_a_damaged_model_is_told(damage, said, copied):
    damage(copied)
    with pytest.raises(DataError) as found:
        engine(copied)
    assert said in found.value.what and "\n" not in found.value.what and found.value.hint


def test_code_in_a_model_s_folder_is_not_run(copied, tmp_path):
    ran = tmp_path / "ran"
    (copied / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    edited(copied, "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    edited(copied, "processor_config.json", auto_map={"AutoProcessor": "evil.Processor"}, processor_class="Evil")
    with pytest.raises(DataError, match="Cannot load"):
        engine(copied)
    assert not ran.exists()


def test_wrong_requests_are_told(copied, folder):
    with pytest.raises(UserError, match="for GPUs"):
        engine(folder, compile=True)
    with pytest.raises(DataError, match="no/such-model"):
        engine("no/such-model")
    with pytest.raises(UserError, match="no device"):
        table.make(EngineOptions("transformers", str(folder), device="cuda:9"))
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template") as found:
        engine(copied)
    assert "--chat-template FILE" in found.value.hint
    for text, said in (
        ("{% for %}", "template fails"),
        ("hello", "leaves out"),
        (TEMPLATE.replace("<image>", ""), "the image"),
    ):
        (copied / "chat_template.jinja").write_text(text)
        with pytest.raises(UserError, match=said):
            engine(copied)
    (copied / "chat_template.jinja").write_text(TEMPLATE.replace("for message in messages", "for message in messages[-1:]"))
    with pytest.raises(UserError, match="leaves out the system message"):
        answers(engine(copied), [request(0, system="You see.")])
    assert load(EngineOptions(model=str(folder), device="cpu")).precision == "fp32"
