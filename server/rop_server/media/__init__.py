"""Live and recorded streams: from the cameras' media connections to viewers, parsed once and fanned out."""
