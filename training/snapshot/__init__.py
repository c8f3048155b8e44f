"""Snapshots: immutable, versioned exports of the store's events and decisions."""
