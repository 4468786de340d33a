"""Any text-to-image pipeline of diffusers behind `ImageModel`.

Each image has a generator of its own, on the CPU, from its own seed: diffusers draws the first noise and that of every
step image by image from a list of generators (`diffusers.utils.torch_utils.randn_tensor`), so neither the batch nor the
device changes what is drawn.
"""

from __future__ import annotations

import inspect
import warnings
from functools import cached_property
from typing import Any

from recap_eval.errors import UserError
from recap_eval.generate.base import Picture, Running, Sampling
from recap_eval.generate.pipeline_files import CHECKER, PipelineFiles
from recap_eval.generate.pipeline_weights import load_pipeline
from recap_eval.generate.schedulers import FOLDER, config_of, make_scheduler
from recap_eval.models.loading import resolve_device, resolve_precision

FIXED = {  # of pipelines that would otherwise rewrite prompts, or sample in another size and resample
    "clean_caption": False,
    "use_resolution_binning": False,
}
OWN = ("num_inference_steps", "guidance_scale")  # whose defaults, which differ by pipeline, are part of the record
NEEDED = ("prompt", "generator")
LENGTH = "max_sequence_length"
ENDLESS = 1 << 20  # tokenizers without a limit state a huge one
NOT_A_NUMBER = "invalid value encountered in cast"  # numpy, when NaN becomes a grey level


class DiffusersModel:
    """A pipeline; its weights are loaded when the first image is asked for.

    Args:
        files: Its files.
        sampling: How to sample.
        running: Where to run.

    Raises:
        UserError: It is no text-to-image pipeline, or a setting does not fit it.
        DataError: Its files are damaged.
    """

    def __init__(self, files: PipelineFiles, sampling: Sampling, running: Running) -> None:
        self._files, self._running = files, running
        self._class = _pipeline_class(files.kind)
        self._takes = inspect.signature(self._class.__call__).parameters
        if absent := [name for name in NEEDED if name not in self._takes]:
            raise UserError(f"{files.kind} is no text-to-image pipeline: its call takes no {absent[0]!r}.", "Name another.")
        self.device = resolve_device(running.device)
        self._precision = _precision(sampling.precision, self.device)
        self._scheduler = _scheduler(files, sampling.scheduler)
        self._arguments = self._call_arguments(sampling, running)
        self.name, self.revision = files.name, files.revision
        self.identity = self._identity()
        facts = {"class": self._class.__name__, "commit": files.commit, "trained": _training(files)}
        self.about = {name: value for name, value in facts.items() if value}

    def generate(self, prompts: list[str], seeds: list[int]) -> list[Picture]:
        """Return one image a prompt; all its randomness comes from its seed.

        Raises:
            RuntimeWarning: An image holds a value that is no number.
        """
        import torch

        arguments = dict(self._arguments)
        if "negative_prompt" in arguments:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with warnings.catch_warnings():
            warnings.filterwarnings("error", NOT_A_NUMBER, RuntimeWarning)
            output = self._pipeline(prompt=prompts, generator=generators, **arguments)
        blanked = getattr(output, "nsfw_content_detected", None) or [False] * len(prompts)
        return [Picture(image, bool(flag)) for image, flag in zip(output.images, blanked, strict=True)]

    def cuts(self, prompts: list[str]) -> list[list[str]]:
        """Return by prompt which tokenizers cut it, each as NAME:LIMIT."""
        found: list[list[str]] = [[] for _ in prompts]
        for name, (tokenizer, limit) in self._tokenizers.items():
            lengths = [len(ids) for ids in tokenizer(prompts, truncation=False, verbose=False)["input_ids"]]
            for own, length in zip(found, lengths, strict=True):
                own += [f"{name}:{limit}"] if length > limit else []
        return found

    @cached_property
    def _tokenizers(self) -> dict[str, tuple[Any, int]]:
        longest = self._arguments.get(LENGTH, getattr(self._takes.get(LENGTH), "default", None))
        found = {}
        for name, part in self._pipeline.components.items():
            if not name.startswith("tokenizer") or not hasattr(part, "model_max_length"):
                continue
            limits = [limit for limit in (part.model_max_length, longest) if isinstance(limit, int) and limit < ENDLESS]
            if limits:
                found[name] = (part, min(limits))
        return found

    @cached_property
    def _pipeline(self) -> Any:
        pipeline = load_pipeline(self._class, self._files, self._precision, self._loading_options())
        pipeline.to(self.device)
        if self._running.compile:
            _denoiser(pipeline).compile()
        return pipeline

    def _loading_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {} if self._scheduler is None else {FOLDER: self._scheduler}
        if CHECKER in self._files.index and not self._running.safety_checker:
            options[CHECKER] = None
            if "requires_safety_checker" in inspect.signature(self._class.__init__).parameters:
                options["requires_safety_checker"] = False
        return options

    def _call_arguments(self, sampling: Sampling, running: Running) -> dict[str, Any]:
        asked = {
            "num_inference_steps": sampling.steps, "guidance_scale": sampling.guidance_scale, "height": sampling.height,
            "width": sampling.width, "negative_prompt": sampling.negative_prompt,
        }  # fmt: skip
        given = {name: value for name, value in asked.items() if value is not None} | running.arguments
        for name in given:
            if name not in self._takes:
                raise UserError(f"{self._files.kind} takes no {name!r}.", f"It takes: {', '.join(list(self._takes)[1:])}.")
        defaults = {name: self._takes[name].default for name in OWN if name in self._takes}
        own = {name: value for name, value in defaults.items() if isinstance(value, int | float)}
        fixed = {name: value for name, value in FIXED.items() if name in self._takes}
        return own | fixed | self._length() | given

    def _length(self) -> dict[str, int]:
        """Return how many tokens to read where the call's default is more than the only tokenizer's limit.

        PixArt's call pads to 120 tokens whatever its text encoder reads, and a CLIP has 77 places.
        """
        tokenizers = [name for name in self._files.index if name.startswith("tokenizer") and self._files.component(name)]
        if LENGTH not in self._takes or len(tokenizers) != 1:
            return {}
        limit = self._files.tokens_read(tokenizers[0])
        return {LENGTH: limit} if limit is not None and limit < self._takes[LENGTH].default else {}

    def _identity(self) -> dict[str, Any]:
        return {
            "weights": self.revision,
            "pipeline": self._class.__name__,
            "scheduler": {} if self._scheduler is None else config_of(self._scheduler),
            **self._arguments,
            "precision": self._precision,
            "compile": self._running.compile,
            "safety_checker": self._running.safety_checker and self._files.component(CHECKER) is not None,
        }


def _pipeline_class(kind: str) -> Any:
    import diffusers

    found = getattr(diffusers, kind, None)
    if found is None:
        raise UserError(f"This version of diffusers ({diffusers.__version__}) has no {kind}.", "Install another version.")
    if "Img2Img" not in kind and "Inpaint" not in kind:
        return found
    from diffusers.pipelines.auto_pipeline import SUPPORTED_TASKS_MAPPINGS

    tables: Any = SUPPORTED_TASKS_MAPPINGS  # text to image stands first
    families = [name for table in tables for name, member in table.items() if member is found]
    text_to_image = tables[0]
    if not families or families[0] not in text_to_image:
        raise UserError(f"{kind} is no text-to-image pipeline.", "Name another.")
    return text_to_image[families[0]]


def _precision(word: str, device: str) -> str:
    if word != "fp16":
        return resolve_precision(word, device)
    if device == "cpu":
        raise UserError("fp16 needs a GPU.", "Leave --precision out, or use fp32 or bf16.")
    return word


def _scheduler(files: PipelineFiles, name: str | None) -> Any:
    own = files.component(FOLDER)
    if own is not None:
        return make_scheduler(files.folder, own, name)
    if name is not None:
        raise UserError(f"{files.kind} has no scheduler of its own to replace.", "Leave --scheduler out.")
    return None


def _denoiser(pipeline: Any) -> Any:
    for name in ("transformer", "unet", "prior"):
        if getattr(pipeline, name, None) is not None:
            return getattr(pipeline, name)
    raise UserError(f"{type(pipeline).__name__} has no transformer and no unet to compile.", "Leave --compile out.")


def _training(files: PipelineFiles) -> dict[str, Any]:
    """Return how the model was made, if it is an artifact of ours."""
    from recap_eval.artifact import find_artifact

    artifact = find_artifact(files.folder)
    return artifact.made if artifact else {}
