"""From what a user types to a captioner."""

from __future__ import annotations

from pathlib import Path

from recap_eval.models.base import Loading
from recap_eval.models.captioner import Captioner
from recap_eval.models.served import ServedCaptioner, Serving

HUB, SERVED = "transformers:", "openai:"


def load_captioner(spec: str, how: Loading, serving: Serving, batch_size: int | None = None) -> Captioner:
    """Load a captioner.

    Args:
        spec: A transformers folder (ours is one), ORG/NAME or transformers:ORG/NAME on the hub, openai:NAME for a model behind
            a server, or MODULE:ATTR, one's own class.
        how: How a model in this process is loaded and run.
        serving: Where servers are.
        batch_size: Prompts a batch in this process; None for what suits the device.

    Raises:
        UserError: Unknown name, or no captioner.
        DataError: Files are missing or damaged; the hub cannot be reached.
    """
    if spec.startswith(SERVED):
        return ServedCaptioner(spec.removeprefix(SERVED), serving)
    if ":" in spec and not spec.startswith(HUB) and not Path(spec).expanduser().exists():
        from recap_eval.models import own_captioner

        return own_captioner.load(spec, batch_size)
    from recap_eval.models import image_text

    return image_text.load(spec.removeprefix(HUB), how, batch_size)
