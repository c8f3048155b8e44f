"""What carries the service into production: its image, its stack, its cluster."""
