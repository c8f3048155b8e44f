"""What all tests share: how Hypothesis behaves, and how wide a console is."""

from __future__ import annotations

import os

from hypothesis import settings

# A console that is made while COLUMNS is set keeps that width for ever; tests that want one set it themselves.
os.environ.pop("COLUMNS", None)

# No deadline: machines that run tests are slow now and then, and no test asserts a time.
settings.register_profile("tests", deadline=None, print_blob=True)
settings.load_profile("tests")
