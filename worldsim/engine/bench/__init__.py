"""Benchmarks of play: speed and memory before a download, latency in real time, hours on a simulated clock."""
