"""Commands of the online half that have a module of their own."""
