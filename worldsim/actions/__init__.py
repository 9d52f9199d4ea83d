"""Layer 1: the key table, keys for worlds whose inputs are poses, and scripted actions. No torch, no pygame."""
