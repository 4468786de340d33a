"""The one row of captioning: the published columns and what happened. Every output file has exactly this schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1  # raised whenever a column is added or means something else; part of a run's fingerprint

OK, BAD_IMAGE, BAD_TEXT, REFUSED, ENGINE_ERROR, TIMEOUT, DUPLICATE_KEY = (
    "ok", "bad_image", "bad_text", "refused", "engine_error", "timeout", "duplicate_key",
)  # fmt: skip
STATUSES = (OK, BAD_IMAGE, BAD_TEXT, REFUSED, ENGINE_ERROR, TIMEOUT, DUPLICATE_KEY)
ASKABLE = (BAD_IMAGE, REFUSED, ENGINE_ERROR, TIMEOUT)  # failures of asking, which may be asked again
PASSING = (ENGINE_ERROR, TIMEOUT)  # what may go away by itself: `retry` asks these again unless told otherwise

PUBLISHED = {  # the columns of Recap-DataComp-1B, in the order of its dataset card
    "url": "string", "re_caption": "string", "org_caption": "string", "sha256": "string", "key": "string",
    "re_clip_score": "float64", "org_clip_score": "float64", "re_length": "int64", "org_length": "int64",
    "re_gpt4v_score": "int64", "org_gpt4v_score": "int64",
}  # fmt: skip
OURS = {
    "prompt_id": "string",  # what was asked
    "sample_index": "int32",  # which of several captions by the same prompt
    "status": "string",  # one of STATUSES
    "error_type": "string",
    "error": "string",
    "attempts": "int32",
    "finish_reason": "string",  # stop, length, repetition
    "n_prompt_tokens": "int32",
    "n_output_tokens": "int32",
    "mean_logprob": "float64",  # of the output tokens, natural logarithm
    "flags": "list",  # of recap_eval.captions.flags, and "duplicate": the shard has the caption for another image, too
    "re_caption_trimmed": "string",  # without an unfinished last sentence; null if nothing was trimmed
    "width": "int32",  # of the image as it came, pixels
    "height": "int32",
    "seed": "int64",  # null for greedy decoding
    "model_id": "string",
    "run_id": "string",
    "engine": "string",
}


def schema() -> pa.Schema:
    """Return the schema of every output file."""
    import pyarrow as pa

    kinds = {
        "string": pa.string(), "float64": pa.float64(), "int64": pa.int64(), "int32": pa.int32(), "list": pa.list_(pa.string()),
    }  # fmt: skip
    return pa.schema([(name, kinds[kind]) for name, kind in {**PUBLISHED, **OURS}.items()])
