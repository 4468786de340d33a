"""Evaluation-centred core: data, models, metrics, results, leaderboards and reports on what recaptioning does."""

__version__ = "0.1.0"
