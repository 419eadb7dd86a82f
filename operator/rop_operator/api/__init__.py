"""What a user may write: typed models of every kind."""
