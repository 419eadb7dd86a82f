"""What the gateway asks of us, on a socket of its own: may this caller do this; sign my certificate; my state."""
