"""Judging what is live, on the decisions that were served."""
