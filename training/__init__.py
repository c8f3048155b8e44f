"""The offline half: from events to a promoted model."""
