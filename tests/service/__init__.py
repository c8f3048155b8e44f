"""Tests of the online half: the wire, the use cases, the server and its command line."""
