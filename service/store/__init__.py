"""Stores: where profiles, events and decisions live. `protocol` says what a store does; two do it."""
