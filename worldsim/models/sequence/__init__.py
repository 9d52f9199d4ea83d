"""The sequence model: scans, attention, the layers made of them, and the world models built on those layers."""
