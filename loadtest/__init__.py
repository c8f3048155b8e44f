"""Load tests of a running service: open-loop arrivals, a service level that holds or not, a report with plots.

`make load` runs it; loadtest/README.md tells how to read what it says.
"""
