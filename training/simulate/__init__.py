"""The simulated market: see `training.simulate.market`."""

from training.simulate.fraud import PATTERNS
from training.simulate.market import SimulationSummary, simulate
from training.simulate.settings import MarketSettings

__all__ = ["PATTERNS", "MarketSettings", "SimulationSummary", "simulate"]
