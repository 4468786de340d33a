"""The chat templates, against what the repositories they are of build by hand."""

import pytest
from original_llava import make_tokenizer

from recap_eval.models.llava.tokenizer import DEFAULT_TEMPLATE, fit, load_tokenizer, read_template, template_names

HEAD, END, IMAGE = "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>", "<image>\n"
NEXT = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
PLUS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the user's questions."
)
START = "<|begin_of_text|>"
BEFORE = {
    "llama-3": START, "llava-next": START + HEAD.format("system") + NEXT + END,
    "llava-pp": START * 2 + HEAD.format("system") + PLUS + END,
}  # fmt: skip
PARTS = [{"type": "text", "text": "Tell."}, {"type": "image"}]  # the image comes first, wherever it stands
TURNS = [
    {"role": "user", "content": PARTS},
    {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    {"role": "user", "content": "More?"},
    {"role": "assistant", "content": "No."},
]


@pytest.fixture
def tokenizer(tmp_path):
    def make(name):
        make_tokenizer(tmp_path)
        found = load_tokenizer(str(tmp_path))
        fit(found, 261, read_template(name)[1])
        return found

    return make


def test_all_that_are_shipped_are_tested():
    assert template_names() == sorted(BEFORE) and DEFAULT_TEMPLATE == "llama-3"


@pytest.mark.parametrize("name", BEFORE)
def test_a_question_is_written_as_its_repository_writes_it(tokenizer, name):
    found = tokenizer(name).apply_chat_template(TURNS[:1], tokenize=False, add_generation_prompt=True)
    assert found == BEFORE[name] + HEAD.format("user") + IMAGE + "Tell." + END + HEAD.format("assistant")


@pytest.mark.parametrize("name", BEFORE)
def test_a_system_message_of_one_s_own_takes_the_place_of_the_template_s(tokenizer, name):
    told = [{"role": "system", "content": "Be brief."}, *TURNS[:1]]
    found = tokenizer(name).apply_chat_template(told, tokenize=False)
    start = START * (2 if name == "llava-pp" else 1)
    assert found == start + HEAD.format("system") + "Be brief." + END + HEAD.format("user") + IMAGE + "Tell." + END


@pytest.mark.parametrize("name", BEFORE)
def test_answers_and_what_ends_them_are_marked_for_training(tokenizer, name):
    made = tokenizer(name)
    found = made.apply_chat_template(TURNS, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mask in zip(found["input_ids"], found["assistant_masks"], strict=True) if mask]
    assert made.decode(marked) == "A cat.<|eot_id|>No.<|eot_id|>"
