"""Sans-IO codecs of the ROP v1.0 wire protocol, both sides: bytes in, messages out."""
