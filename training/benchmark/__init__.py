"""Published protocols, offline and through a running service."""
