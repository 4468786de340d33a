"""A diffusers pipeline as files: found or downloaded, checked before anything of it is loaded, named by its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap_eval.artifact import find_artifact, verify
from recap_eval.errors import DataError, UserError
from recap_eval.files import digest_file, digest_json, read_json
from recap_eval.models.shipped import place_of

INDEX = "model_index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
CHECKER = "safety_checker"
HINT = "Name a folder that save_pretrained wrote, a pipeline on the hub (ORG/NAME), or MODULE:ATTR, your own class."


@dataclass(frozen=True)
class PipelineFiles:
    """A pipeline in a folder.

    Args:
        folder: Where it lies.
        name: What tables call it.
        index: Its model_index.json.
        revision: Digest of its files, or of its artifact.
        commit: The commit on the hub that it was downloaded from, or "".
    """

    folder: Path
    name: str
    index: dict[str, Any]
    revision: str
    commit: str = ""

    @property
    def kind(self) -> str:
        """Name of the pipeline's class."""
        return str(self.index["_class_name"])

    def component(self, name: str) -> str | None:
        """Return the class of a component, or None if there is none."""
        found = self.index.get(name)
        return str(found[1]) if isinstance(found, list) and len(found) == 2 and found[1] else None

    def tokens_read(self, tokenizer: str) -> int | None:
        """Return how many tokens a tokenizer says that its model reads, or None if it says nothing."""
        path = self.folder / tokenizer / "tokenizer_config.json"
        limit = read_json(path).get("model_max_length") if path.is_file() else None
        return limit if isinstance(limit, int) else None


def find_pipeline(spec: str) -> PipelineFiles:
    """Return a pipeline by its folder, from the hub, or by the name of one that comes with the package.

    Raises:
        UserError: There is neither.
        DataError: The folder holds no pipeline, code of its own, pickled or damaged weights; or the hub cannot be reached.
    """
    folder = place_of(spec)
    if folder.is_dir():
        return _described(folder.resolve(), "")
    if folder.exists() or spec.count("/") != 1 or spec.startswith((".", "/", "~")):
        what = "is a file, and no pipeline's folder" if folder.exists() else "does not exist"
        raise UserError(f"{spec} {what}.", HINT)
    found = _download(spec)
    return _described(found, found.name, spec)


def _download(repo: str) -> Path:
    from diffusers import DiffusionPipeline
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(DiffusionPipeline.download(repo, use_safetensors=True, trust_remote_code=False))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        why = (str(error).splitlines() or [""])[0]
        raise DataError(f"Cannot get {repo} from the hub ({type(error).__name__}: {why[:200]}).", HINT) from error


def _described(folder: Path, commit: str, name: str = "") -> PipelineFiles:
    index = _read_index(folder)
    artifact = find_artifact(folder)
    if artifact is not None and artifact.kind != "diffusion":
        raise UserError(f"{folder} is an artifact of kind {artifact.kind!r}, not 'diffusion'.", HINT)
    for part in _parts(folder, index):
        _check_weights(part)
    if artifact is not None:
        verify(folder, artifact)
        return PipelineFiles(folder, artifact.name, index, artifact.revision, commit)
    return PipelineFiles(folder, name or folder.name, index, _digest(folder, index), commit)


def _read_index(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise DataError(f"{folder} is no diffusers pipeline: it has no {INDEX}.", HINT)
    index = read_json(folder / INDEX)
    if not isinstance(index, dict) or "_class_name" not in index:
        raise DataError(f"{folder / INDEX} names no class of pipelines.", HINT)
    if not isinstance(index["_class_name"], str):
        raise DataError(f"{folder} brings code of its own, which is not run.", "Load it yourself: --model FILE.py:ATTR")
    return index


def _parts(folder: Path, index: dict[str, Any]) -> list[Path]:
    """Return the folders of a pipeline's components, its safety checker left out."""
    names = [name for name, value in index.items() if isinstance(value, list) and len(value) == 2 and value[0]]
    return [folder / name for name in sorted(names) if name != CHECKER and (folder / name).is_dir()]


def _check_weights(part: Path) -> None:
    from safetensors import SafetensorError, safe_open

    files = sorted(path for path in part.rglob("*") if path.is_file())
    safe = [path for path in files if path.suffix == ".safetensors"]
    pickled = [path for path in files if path.suffix in PICKLES]
    if pickled and not safe:
        raise DataError(
            f"{pickled[0]} is pickled weights, which can run code; they are not loaded.",
            "Save the pipeline as safetensors: pipeline.save_pretrained(FOLDER, safe_serialization=True)",
        )
    for path in safe:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} is damaged ({error}).", "Get the model again; it may be cut short.") from error


def _digest(folder: Path, index: dict[str, Any]) -> str:
    """Digest what a pipeline is loaded from: its index and all files of its components but pickles."""
    files = [path for part in _parts(folder, index) for path in sorted(part.rglob("*")) if path.is_file()]
    kept = [path for path in files if path.suffix not in PICKLES and not path.name.startswith(".")]
    return digest_json({str(path.relative_to(folder)): digest_file(path) for path in [folder / INDEX, *kept]})
