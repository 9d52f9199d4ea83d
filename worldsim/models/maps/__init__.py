"""Explicit maps: pose tracking, a map in the weights (fixed) or in the state (spatial), and rendering from a pose."""
