"""Sequence models: scans, attention, layers of both, and the world models built on those layers."""
