"""Where everything lies in a run's folder."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from recap_caption.run.disk import PART
from recap_eval.captions.generations import CAPTIONS, RUN, join_name, newest, split_name


@dataclass(frozen=True)
class Folder:
    """A run's folder.

    Args:
        root: It.
    """

    root: Path

    @property
    def record(self) -> Path:
        """What the run is: its existence begins the run."""
        return self.root / RUN

    @property
    def manifest(self) -> Path:
        """The parts of the input."""
        return self.root / "manifest.parquet"

    @property
    def captions(self) -> Path:
        """The outputs."""
        return self.root / CAPTIONS

    @property
    def report(self) -> Path:
        """What `verify` found last."""
        return self.root / "run_report.json"

    @property
    def leases(self) -> Path:
        """Who works on what."""
        return self.root / ".work" / "leases"

    @property
    def workers(self) -> Path:
        """How each worker fares."""
        return self.root / ".work" / "workers"

    @property
    def logs(self) -> Path:
        """What workers that another process started have said."""
        return self.root / ".work" / "logs"

    def spool(self, name: str, generation: int) -> Path:
        """Return the folder of the answers to a part that is not committed yet."""
        return self.root / ".work" / "spool" / f"{name}.g{generation}"

    def retry(self, generation: int) -> Path:
        """Return what a later generation is."""
        return self.root / "retries" / f"g{generation}.json"

    def output(self, name: str, generation: int) -> Path:
        """Return a part's output."""
        return self.captions / join_name(name, generation)

    def outputs(self) -> dict[str, set[int]]:
        """Return the generations of each part that are committed, by one look at the folder."""
        found: dict[str, set[int]] = defaultdict(set)
        for path in self.captions.iterdir() if self.captions.is_dir() else ():
            if path.suffix == ".parquet" and not path.name.startswith("."):
                name, generation = split_name(path.name)
                found[name].add(generation)
        return found

    def newest_outputs(self) -> list[Path]:
        """Return the outputs that readers take."""
        return newest(sorted(path for path in self.captions.glob("*.parquet") if not path.name.startswith(".")))

    def leftovers(self, generation: int) -> list[Path]:
        """Return outputs of a generation that were written and never took their place."""
        found = ((path, path.name[1:].rpartition(".parquet.")[0]) for path in self.captions.glob(f".*.parquet.*{PART}"))
        return sorted(path for path, name in found if split_name(f"{name}.parquet")[1] == generation)
