"""Tests of judging live versions."""
