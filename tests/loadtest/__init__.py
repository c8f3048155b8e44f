"""Tests of the load tests: what they count and how they judge."""
