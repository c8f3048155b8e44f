"""The commands of the offline half, a module for each thing that people do."""
