"""Microbenchmarks of hot operations; run by `make bench`, never by `make test`."""
