"""Archives that the server makes by itself: when one is due, its way to every target, what counts as stored."""
