"""The auto-encoder between pixels and latents: diffusers' AutoencoderKL, by folder or hub id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import UserError
from recap_train.diffusion.frozen import digest_of, load_pretrained

if TYPE_CHECKING:
    import torch

OPTION = "--autoencoder"
SETTINGS = ("scaling_factor", "shift_factor", "latent_channels", "block_out_channels")


@dataclass(frozen=True)
class Autoencoder:
    """An auto-encoder that is not trained further.

    Args:
        vae: diffusers' AutoencoderKL.
        digest: Of its weights and scale.
    """

    vae: Any
    digest: str

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.vae.config.latent_channels)

    @property
    def factor(self) -> int:
        """Pixels a side for each latent number."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def scale(self) -> float:
        """What latents are multiplied by, to have about unit variance."""
        return float(self.vae.config.scaling_factor)

    def moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (B, 2C, h, w) means and log variances of (B, 3, S, S) pixels of 0 to 255."""
        import torch

        if not len(pixels):
            side = pixels.shape[-1] // self.factor
            return torch.zeros(0, 2 * self.channels, side, side, device=pixels.device)
        with torch.no_grad():
            found: torch.Tensor = self.vae.encode(scaled(pixels)).latent_dist.parameters
        return found


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels of 0 to 255 as the auto-encoder takes them, -1 to 1."""
    return pixels.float() / 127.5 - 1


def sampled(moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Draw latents from their posteriors.

    Args:
        moments: (B, 2C, h, w) means and log variances, before scaling; log variances are held in [-30, 20], as diffusers does.
        noise: (B, C, h, w) standard normal numbers.

    Returns:
        (B, C, h, w) float32, before scaling.
    """
    mean, log_variance = moments.float().chunk(2, dim=1)
    return mean + (0.5 * log_variance.clamp(-30.0, 20.0)).exp() * noise


def open_autoencoder(spec: str) -> Autoencoder:
    """Open an auto-encoder: of `recap-train vae`, in a folder of diffusers', of a pipeline's, or on the hub.

    Raises:
        UserError: The folder is something else, or its latents are moved as well as scaled, which PixArt's pipeline cannot do.
        DataError: It is damaged, or cannot be had.
    """
    from diffusers import AutoencoderKL

    folder = Path(spec).expanduser()
    artifact = find_artifact(folder) if folder.is_dir() else None
    if artifact is not None:
        if artifact.kind not in ("autoencoder", "diffusion"):
            raise UserError(f"{spec} is an artifact of kind {artifact.kind!r}.", f"Name an auto-encoder: {OPTION} DIR")
        verify(folder, artifact)
    arguments = {"subfolder": "vae"} if (folder / "vae").is_dir() else {}
    source = str(folder) if folder.is_dir() else spec
    vae = load_pretrained(AutoencoderKL, source, "AutoencoderKL", OPTION, **arguments)
    if vae.config.shift_factor:
        raise UserError(f"{spec} moves its latents by {vae.config.shift_factor}.", "Name one without a shift_factor.")
    return Autoencoder(vae, digest_of(vae, {name: vae.config.get(name) for name in SETTINGS}))
