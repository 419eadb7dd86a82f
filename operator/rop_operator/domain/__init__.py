"""What should happen: pure functions from observed facts to plans and status."""
