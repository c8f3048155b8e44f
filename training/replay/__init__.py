"""Replay: from recorded events to the rows that the service built of them."""
