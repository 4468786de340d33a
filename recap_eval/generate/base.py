"""What makes images of prompts, as the run sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Sampling:
    """How images are sampled; None for the model's own default.

    Args:
        scheduler: A name of `schedulers.SCHEDULERS`.
        steps: Denoising steps.
        guidance_scale: Scale of classifier-free guidance, or what the pipeline calls so.
        height: In pixels.
        width: In pixels.
        negative_prompt: What guidance leads away from.
        precision: "auto", "fp32", "bf16" or "fp16".
    """

    scheduler: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    negative_prompt: str | None = None
    precision: str = "auto"


@dataclass(frozen=True)
class Running:
    """Where and how a model runs, and what of a pipeline is set besides its sampling.

    Args:
        device: "cpu", "cuda", "cuda:1"; None for a GPU if there is one.
        compile: Compile the denoiser.
        safety_checker: Keep the pipeline's safety checker, which blanks images; they are counted.
        arguments: Further arguments of the pipeline's call.
    """

    device: str | None = None
    compile: bool = False
    safety_checker: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """An image as a model gave it.

    Args:
        image: The image.
        blanked: True if a safety checker blanked it.
    """

    image: Image
    blanked: bool = False


class ImageModel(Protocol):
    """A text-to-image model.

    Attributes:
        name: What tables call it.
        revision: Names its weights.
        identity: What of it the images depend on, weights and settings; JSON, by name.
        about: Further facts for the artifact: class, scheduler's configuration, commit, ….
        device: Where it runs.
    """

    name: str
    revision: str
    identity: dict[str, Any]
    about: dict[str, Any]
    device: str

    def generate(self, prompts: list[str], seeds: list[int]) -> list[Picture]:
        """Return one image a prompt; all its randomness comes from its seed."""
        ...

    def cuts(self, prompts: list[str]) -> list[list[str]]:
        """Return by prompt which tokenizers cut it, each as NAME:LIMIT."""
        ...
