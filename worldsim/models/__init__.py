"""Floor 2: torch modules (scan, attention, autoencoder, world model) and the state they carry.

Knows nothing of engines or windows.
"""
