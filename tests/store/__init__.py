"""Tests of the stores: one contract for both, the faults that it must survive, and what is each store's own."""
