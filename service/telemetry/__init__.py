"""What metrics are made of: distributions, calls, drift, and how the numbers of all workers become one."""
