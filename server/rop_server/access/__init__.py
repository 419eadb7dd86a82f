"""What callers of the gateway may do: verbs, cameras, and passes that carry a decision to the client interface."""
