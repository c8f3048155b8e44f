"""Tests of event files and the simulated market."""
