"""Virtual cameras that speak the real wire protocol: the device side."""
