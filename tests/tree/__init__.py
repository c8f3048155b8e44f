"""Tests of the tree itself: generated files are fresh, contracts hold, nothing is left behind."""
