"""Tests of learning: from rows to a published version."""
