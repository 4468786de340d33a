"""A small captioner trained whole, from nothing: vision tower, projector and language model together, in our own loop.

TRL's trainer is not taken here: docs/captioner.md says what both make of the same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import Artifact, write_artifact
from recap_eval.models.llava.tokenizer import DEFAULT_TEMPLATE, read_template
from recap_eval.provenance import run_record
from recap_train.captioner.recipe import CaptionerRecipe
from recap_train.captioner.saving import save_llava
from recap_train.captioner.small import FILES, Wording, build_model, build_processor, wording_of
from recap_train.captioner.tokens import make_tokenizer
from recap_train.ledger import Ledger
from recap_train.loop import Loop, Progress
from recap_train.parallel import World, joined, spread
from recap_train.run import Run
from recap_train.states import Spread, State
from recap_train.training import assemble, completed, made_of, open_run, show_samples, speed_of
from recap_train.training_data import TrainingData, names_of, some_captions
from recap_train.workers import worker_errors

if TYPE_CHECKING:
    from recap_train.loader import Batches

OWN = frozenset(FILES)


@dataclass(frozen=True)
class Speaker:
    """A captioner's parts.

    Args:
        recipe: Its recipe.
        processor: transformers' processor: images and tokenizer.
        model: transformers' model.
        wording: How captions become tokens.
    """

    recipe: CaptionerRecipe
    processor: Any
    model: Any
    wording: Wording

    def loaded(self, weights: State) -> Any:
        """Return a model of its own with weights that the loop gave."""
        other = build_model(self.recipe, self.processor.tokenizer, 0)
        other.load_state_dict({name.removeprefix("model."): weight for name, weight in weights.items()})
        return other

    def write(self, folder: Path, weights: State) -> list[str]:
        """Save it with such weights; returns the names of the files."""
        return save_llava(folder, self.loaded(weights), self.processor)


Describe = Callable[[int, Ledger], dict[str, Any]]
Hooks = Callable[[Run, Loop, Speaker, Describe], tuple[Any, ...]]


def make_speaker(run: Run, data: TrainingData) -> Speaker:
    """Make a captioner from a run's captions and seed: tokenizer, processor, initial weights."""
    recipe = run.recipe
    assert isinstance(recipe, CaptionerRecipe)
    texts = [text for one in some_captions(data) for text in one.recaptions]
    template = read_template(DEFAULT_TEMPLATE)[1]
    tokenizer = make_tokenizer(texts, recipe.model_cfg["prompt"], recipe.model_cfg["vocab_size"], template)
    processor = build_processor(recipe, tokenizer)
    return Speaker(recipe, processor, build_model(recipe, tokenizer, run.seed), wording_of(recipe, processor))


def train(run: Run, hooked: Hooks | None = None) -> tuple[Artifact, bool]:
    """Train, or go on, or find the finished artifact. Under torchrun, with the other processes.

    Args:
        run: The run; its recaptions are the captions.
        hooked: Returns the loop's hooks.

    Returns:
        The artifact, and whether it was there already.

    Raises:
        UserError, DataError: See the parts.
        Stopped: A signal stopped the run; the same command goes on.
    """
    with joined(run.engine.device, run.engine.parallel) as world:
        opened = open_run(run, world, own=OWN)
        if opened.known is not None:
            return opened.known, True
        if world.main:
            show_samples(run, opened.data)
        speaker = make_speaker(run, opened.data)
        feed = opened.data.feed(run, opened.plan, speaker.wording.tokenize)
        loop = make_loop(run, speaker, feed, opened.identity, world)
        loop.name_of = partial(names_of, opened.data)
        describe = partial(_made, run, loop, opened.data, speaker)
        loop.hooks = hooked(run, loop, speaker, describe) if hooked is not None else ()
        with worker_errors():
            progress = loop.run()
        return _finish(run, loop, speaker, progress, describe(loop.seen, progress.ledger)), False


def make_loop(run: Run, speaker: Speaker, feed: Batches, identity: str, world: World) -> Loop:
    """Return the loop that trains a captioner."""
    import torch

    from recap_train.captioner.objective import Captioning, Telling

    model = speaker.model
    blocks = [*model.model.vision_tower.encoder.layers, *model.model.language_model.layers]
    if run.engine.grad_checkpointing:
        model.gradient_checkpointing_enable()
    if run.engine.compile:
        for block in blocks:  # of captions of any length
            block.forward = torch.compile(block.forward, dynamic=True)
    told = Telling(model, speaker.wording, run.recipe.preprocess_cfg, run.precision == "bf16", world.device).to(world.device)
    held = Spread(*spread(told, blocks, world))
    return assemble(run, Captioning(held, world, told.pad), held, feed, identity, world)


def _finish(run: Run, loop: Loop, speaker: Speaker, progress: Progress, made: dict[str, Any]) -> Artifact:
    """Write the captioner, then the description that makes the artifact complete; then drop the checkpoint."""
    state = loop.average.weights() if loop.average else loop.spread.weights()
    if loop.world.main:
        files = speaker.write(run.out, state)
        write_artifact(run.out, "captioner", run.name, files, made, run_record(progress.seconds) | speed_of(loop, progress))
    return completed(run, loop)


def _made(run: Run, loop: Loop, data: TrainingData, speaker: Speaker, seen: int, ledger: Ledger) -> dict[str, Any]:
    """Return how the weights after `seen` samples were made."""
    facts = made_of(run, loop, data, seen, ledger)
    facts = {name: value for name, value in facts.items() if name not in MIXED}
    return facts | {
        "captions": run.roles["recaption"],
        "prompt": speaker.recipe.model_cfg["prompt"],
        "caption_tokens": speaker.recipe.model_cfg["caption_tokens"],
        "chat_template": DEFAULT_TEMPLATE,
        "vocabulary": len(speaker.processor.tokenizer),
        "weights": "average" if loop.average else "last",
    }


MIXED = ("p_original", "realised_original", "missing_captions", "roles")  # of `made_of`, what says nothing of a captioner
