"""Sessions tried again apart from production: copied, run, compared."""

from .comparing import Diff, LineSides
from .running import AT_ONCE, COLUMNS, Trial, TrialList, Trials, differences, trial_provider

__all__ = ["AT_ONCE", "COLUMNS", "Diff", "LineSides", "Trial", "TrialList", "Trials", "differences", "trial_provider"]
