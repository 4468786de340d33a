"""Images of scenes held against what their prompts claim: what GenEval does with detectors, here with a looker of known error.

How often the looker (`data/scenes/look.py`) errs stands in every result: it is measured on scenes drawn for this, whose truth
is known, at the images' size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from recap_eval.data.items import ImageItem
from recap_eval.data.scenes.claims import VERSION as CLAIMS_VERSION
from recap_eval.data.scenes.claims import claims
from recap_eval.data.scenes.look import VERSION as LOOK_VERSION
from recap_eval.data.scenes.look import look
from recap_eval.data.scenes.look_errors import errors, scene_size
from recap_eval.data.scenes.verdict import KINDS, Verdict, held_against
from recap_eval.errors import DataError
from recap_eval.tasks.base import ItemScores, Scores

if TYPE_CHECKING:
    import numpy as np


class Verifier:
    """Holds images against the claims of their prompts.

    Args:
        prompts: (N) prompt of each image.
        owners: (N) ids of the prompts.
        skip_bad: Leave out unreadable images, counted.
        progress: Show progress on standard error.

    Raises:
        DataError: No prompt claims anything of a scene.
    """

    def __init__(self, prompts: Sequence[str], owners: Sequence[str], skip_bad: bool = False, progress: bool = False) -> None:
        self._owners, self._skip_bad, self._progress = owners, skip_bad, progress
        self._claims = [claims(prompt) for prompt in prompts]
        if not any(found.n for found in self._claims):
            raise DataError(
                f"No prompt says anything of a scene (the first: {prompts[0][:60]!r}).",
                "This metric is for scenes: --prompts scenes; for other prompts take clip or recap-clip.",
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All that changes a figure besides images and prompts."""
        return {"look.version": LOOK_VERSION, "look.sizes": "32, or 64 from 64 px on", "claims.version": CLAIMS_VERSION}

    def verify(self, images: Sequence[ImageItem]) -> tuple[Scores, dict[str, str]]:
        """Return the scores of (N) images, and what is wrong with those left out.

        Raises:
            DataError: An image is unreadable, and those are not to be left out; or no image is left.
        """
        bad: dict[str, str] = {}
        sizes: list[int] = []
        verdicts: list[tuple[str, str, Verdict]] = []
        silent = 0
        for at, pixels in self._pictures(images, bad):
            silent += not self._claims[at].n
            sizes.append(min(pixels.shape[:2]))
            if self._claims[at].n:
                verdicts.append((images[at].key, self._owners[at], held_against(self._claims[at], look(pixels).scene)))
        if not verdicts:
            raise DataError("No image is left whose prompt says anything of a scene.", "Check images and prompts.")
        wrong = errors(scene_size(min(sizes)))
        extra = self._understood() | {"images_without_claims": float(silent)}
        extra |= {f"looker_{name}": rate for name, rate in wrong.items()}
        return _scores(verdicts, extra, _warnings(silent, len(sizes))), bad

    def _understood(self) -> dict[str, float]:
        words, unknown = (sum(getattr(one, name) for one in self._claims) for name in ("words", "unknown"))
        return {"words_not_understood": unknown / max(words, 1), "claims_per_prompt": _mean([one.n for one in self._claims])}

    def _pictures(self, images: Sequence[ImageItem], bad: dict[str, str]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield number and pixels of each readable image, in order."""
        import numpy as np

        from recap_eval.console import progress_bar
        from recap_eval.models.pixels import decode_image

        with progress_bar(len(images), "looking", "img", disable=not self._progress) as bar:
            for at, item in enumerate(images):
                try:
                    yield at, np.asarray(decode_image(item.read_image(), item.where, item.box).convert("RGB"))
                except DataError as error:
                    if not self._skip_bad:
                        raise
                    bad[item.where] = error.what
                bar.update(1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _warnings(silent: int, n: int) -> tuple[str, ...]:
    return (f"{silent:,} of {n:,} prompts say nothing of a scene; their images are not judged.",) if silent else ()


def _scores(verdicts: Sequence[tuple[str, str, Verdict]], extra: dict[str, float], warnings: tuple[str, ...]) -> Scores:
    """Return the share of true claims by image: of all, of each kind where the prompt makes such a claim."""
    import numpy as np

    def items(values: list[float | None]) -> ItemScores | None:
        kept = [at for at, value in enumerate(values) if value is not None]
        if not kept:
            return None
        keys, owners = [verdicts[at][0] for at in kept], [verdicts[at][1] for at in kept]
        return ItemScores(keys, owners, np.array([values[at] for at in kept], dtype=np.float64))

    found = {"truth": items([one.truth for _, _, one in verdicts])}
    found["all_true"] = items([None if one.all_true is None else float(one.all_true) for _, _, one in verdicts])
    found |= {kind: items([one.of(kind) for _, _, one in verdicts]) for kind in KINDS}
    metrics = {name: scores for name, scores in found.items() if scores is not None}
    return Scores(metrics, extra, warnings=warnings, absent=tuple(name for name in found if name not in metrics))
