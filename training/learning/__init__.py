"""From rows to a published version: datasets, fitting, tuning, calibration, runs."""
