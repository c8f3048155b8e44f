"""What all tests share: how Hypothesis behaves."""

from __future__ import annotations

from hypothesis import settings

# No deadline: machines that run tests are slow now and then, and no test asserts a time.
settings.register_profile("tests", deadline=None, print_blob=True)
settings.load_profile("tests")
