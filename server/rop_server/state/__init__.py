"""What the server remembers: devices ever seen, claims, denials, certificates issued, tokens, events."""
