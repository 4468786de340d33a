"""Whose images a folder holds, as results name them, with the facts of training and sampling that boards go by."""

from __future__ import annotations

from typing import Any

from recap_eval.artifact import RUN_FACTS, TOTAL
from recap_eval.files import digest_json
from recap_eval.generate.images import ImageSet
from recap_eval.models.base import ModelId

PLACE = ("p_original", "seed", TOTAL)  # of the training run: where it stands in its sweep, and whether it was on its way
NOT_SAMPLING = ("weights", "prompts")  # of a generation's identity: the model itself, and what it was asked
TOLD = {"num_inference_steps": "{} steps", "guidance_scale": "guidance {}", "seed": "seed {}"}


def identify(images: ImageSet) -> ModelId:
    """Return name and revision of a set of images, and how they were made, as far as that is known.

    The revision is that of the manifest; without one, the digest of ids and contents.
    """
    artifact = images.artifact
    if artifact is not None:
        return ModelId(artifact.name, artifact.revision, facts_of(artifact.made))
    contents = [[image.id, image.sample, image.sha256] for image in images.images]
    return ModelId(images.folder.resolve().name, digest_json(contents))


def facts_of(made: dict[str, Any]) -> dict[str, Any]:
    """Return how images were made, with the training facts of a model of ours where those of any other model stand.

    Args:
        made: Of an `images` artifact; the model's own record is its `model.trained`.
    """
    trained = made.get("model", {}).get("trained", {})
    known = {fact: trained[fact] for fact in (*RUN_FACTS, *PLACE) if fact in trained}
    return made | known | {"sampled": sampled(made.get("sampling", {}))}


def sampled(sampling: dict[str, Any]) -> str:
    """Return how images were sampled, in words and a digest that is the same for any weights and prompts."""
    own = {name: value for name, value in sampling.items() if name not in NOT_SAMPLING}
    words = [form.format(own[name]) for name, form in TOLD.items() if name in own]
    return ", ".join([*words, digest_json(own)[:8]])
