"""Recovery drills: the newest archive restored where nobody sees it, tried by a camera of the real hierarchy."""
