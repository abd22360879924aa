"""How a fit is carried out: strategies propose, refinement finishes, one judge accepts, one budget ends."""

from __future__ import annotations

from .choice import chosen
from .determined import Determined, determined
from .judge import UNJUDGED, Judge
from .policy import Policy
from .problem import ALL, Candidate, Left, Problem
from .report import Report
from .search import SEARCHED, SOLVERS, Chosen, Outcome, Position, Search, carry_out
from .starting import INITS, Init, found_start
from .streamed import carry_out_on_batches, check_for_batches
from .units import number_of_units

__all__ = [
    "ALL",
    "INITS",
    "SEARCHED",
    "SOLVERS",
    "UNJUDGED",
    "Candidate",
    "Chosen",
    "Determined",
    "Init",
    "Judge",
    "Left",
    "Outcome",
    "Policy",
    "Position",
    "Problem",
    "Report",
    "Search",
    "carry_out",
    "carry_out_on_batches",
    "check_for_batches",
    "chosen",
    "determined",
    "found_start",
    "number_of_units",
]
