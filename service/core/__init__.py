"""The pure half of the service: events, profiles, features and decisions, with no I/O, clock, environment or log."""
