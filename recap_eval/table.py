"""What a filled board is made of: figures in cells, rows of models that differ in their seed alone, and sections of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recap_eval.board import Board, Proxy
from recap_eval.published import PublishedTable
from recap_eval.results import Result
from recap_eval.stats import ALPHA, Estimate
from recap_eval.tasks.base import PERCENT, SHARE

At = tuple[Any, ...]  # a world: what was said of its data, in the order of the board's facts
Place = float | str  # on a board's axis; of a row beside it, its name


@dataclass(frozen=True)
class Difference:
    """A paired difference.

    Args:
        estimate: Mean, interval and raw p-value.
        basis: "seeds" (training randomness is in the interval) or "items" (one seed: it is not).
        p_holm: p-value after Holm's correction over the rows of the column.
    """

    estimate: Estimate
    basis: str
    p_holm: float | None = None

    @property
    def separable(self) -> bool:
        """True if the difference is not 0 by the corrected test at 5 %."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True)
class Cell:
    """One figure.

    Args:
        estimate: Mean over seeds with its interval; of one seed, the interval over items.
        results: The records behind it, one per seed.
        n: Items measured.
        to_baseline: Difference to the row at the board's baseline, or None.
        best: Best of its column, by the metric's direction.
        tied: Not separable from the best.
    """

    estimate: Estimate
    results: tuple[Result, ...]
    n: int
    to_baseline: Difference | None = None
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Row:
    """Models that differ in nothing but their training seed.

    Args:
        label: Name of the row.
        axis: Value on the board's axis; None for models that have none.
        seeds: Training seeds; none of a model that tells no seed.
        cells: By column number; a missing one was not run.
        seen: Samples seen so far, of models on the way; None for finished ones.
    """

    label: str
    axis: float | None
    seeds: tuple[int, ...]
    cells: dict[int, Cell]
    seen: int | None = None

    @property
    def place(self) -> Place:
        """Where it stands on the board's axis; its name if it stands beside it."""
        return self.label if self.axis is None else self.axis


@dataclass(frozen=True)
class Sweep:
    """Rows that may be compared: same recipe, data and number of samples, along the axis.

    Args:
        title: What they have in common.
        rows: Along the axis.
        beside: Trained alike too, but at no place on the axis, as on both captions joined.
    """

    title: str
    rows: tuple[Row, ...]
    beside: tuple[Row, ...] = ()

    @property
    def shown(self) -> tuple[Row, ...]:
        """All rows of its table."""
        return self.rows + self.beside


@dataclass(frozen=True)
class Group:
    """Rows without an axis, measured on the same data.

    Args:
        rows: The rows.
        title: Which data they are of, on a board that has a section for each; "" on others.
    """

    rows: tuple[Row, ...]
    title: str = ""

    @property
    def shown(self) -> tuple[Row, ...]:
        """All rows of its table."""
        return self.rows


@dataclass(frozen=True)
class Course:
    """What trainings were measured at on their way, their end included where it was measured in the same manner.

    Args:
        run: Which trainings: what they have in common with those at other places on the board's axis.
        axis: Their value on the board's axis, or None.
        rows: By samples seen.
    """

    run: str
    axis: float | None
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Which trainings these are."""
        return self.run if self.axis is None else f"{self.run}, p = {self.axis:g}"

    @property
    def shown(self) -> tuple[Row, ...]:
        """All rows of its table."""
        return self.rows


@dataclass(frozen=True)
class Gains:
    """What a recipe gains over another that was trained alike.

    Args:
        ours: The recipe.
        base: The one with fewest parameters.
        rows: Rows of the one at places that both have; their differences are to the other, Holm-corrected over the rows.
        means: By number of the column, the mean of the gains over these places.
    """

    ours: str
    base: str
    rows: tuple[Row, ...]
    means: dict[int, Difference]


@dataclass(frozen=True)
class ProxyFigures:
    """A measure of captions in the worlds of a board.

    Args:
        proxy: Which; of several who measure, with whose it is in its label.
        values: By what was said of a world's data; none if it was not measured.
        results: The records behind each value: of one set of captions, or of two.
        scale: By what tables multiply them.
        unit: In what they are.
    """

    proxy: Proxy
    values: dict[At, float]
    results: dict[At, tuple[Result, ...]]
    scale: float = PERCENT
    unit: str = SHARE


@dataclass(frozen=True)
class Table:
    """A board, filled.

    Args:
        board: Its definition.
        sweeps: Comparable rows along the axis.
        groups: Models without a place on the axis: one group, or one for each data set.
        left_out: Sentence by result that cannot stand in the table.
        sources: The data behind the columns: column number and record of `data`.
        published: Figures for the same columns of papers or other programs, in no rank or difference.
        courses: Trainings on their way, in no rank or difference either.
        proxies: Measures of the captions that models were trained on; none if no captions were measured.
        gains: What recipes gain over the one with fewest parameters, of sweeps that differ in their recipe alone.
    """

    board: Board
    sweeps: tuple[Sweep, ...]
    groups: tuple[Group, ...]
    left_out: tuple[str, ...]
    sources: tuple[tuple[int, dict[str, Any]], ...] = ()
    published: tuple[PublishedTable, ...] = ()
    courses: tuple[Course, ...] = ()
    proxies: tuple[ProxyFigures, ...] = ()
    gains: tuple[Gains, ...] = ()

    @property
    def parts(self) -> tuple[Sweep | Group | Course, ...]:
        """Everything that was measured, section by section."""
        return (*self.sweeps, *self.groups, *self.courses)

    @property
    def measured(self) -> bool:
        """True if any result stands in the table."""
        return bool(self.parts)
