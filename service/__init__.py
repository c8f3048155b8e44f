"""The online half: takes the ids of a checkout and returns the fraud decision."""
