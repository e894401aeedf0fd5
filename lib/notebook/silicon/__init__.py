"""Section of 02: small programs on a simulated chip, measured and shown."""
