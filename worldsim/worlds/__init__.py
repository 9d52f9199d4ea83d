"""Layer 1: reference worlds (engines with ground truth), scripted policies that play them, worlds known from data."""
