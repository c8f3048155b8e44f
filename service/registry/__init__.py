"""The model registry: versions on disk, what is live of them, and how a running service follows."""
