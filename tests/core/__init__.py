"""Tests of the pure core: laws, and equality with the naive oracle."""
