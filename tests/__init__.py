"""The tests; a test proves one property and its docstring states it."""
