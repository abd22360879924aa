"""What a fit says of how it was found, beside its numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Report:
    """How a fit was found; None where it does not apply.

    Attributes
    ----------
    start : str
        Where refinement began.
    sample_rows : int
        Rows of the sub-sample that was refined first.
    candidates, agreeing : int
        Minima that were compared, and how many of these have the lowest loss.
    tensor : str
        Why moments gave no start.
    inputs : list of str
        In what the rows differ from Gaussian ones, as far as whitening does not take it away.
    whitened : bool
        Whether the start saw whitened rows.
    landscape : float
        Value of the landscape where its descent ended.
    restarts : int
        Random starts that the best one was taken of.
    n_hidden_tried : dict of str to bool
        Numbers of units that were tried, and whether they fit.
    chosen_under : float
        Penalty, chosen on rows held out, under which the minimum was chosen among those found.
    """

    start: str | None = None
    sample_rows: int | None = None
    candidates: int | None = None
    agreeing: int | None = None
    tensor: str | None = None
    inputs: list[str] | None = None
    whitened: bool | None = None
    landscape: float | None = None
    restarts: int | None = None
    n_hidden_tried: dict[str, bool] | None = None
    chosen_under: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, what does not apply left out."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if value is not None}
