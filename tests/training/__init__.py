"""Tests of the offline half: replay against the profiles themselves, training, benchmark and commands."""
