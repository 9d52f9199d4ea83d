"""Layer 5: scores of presets against ground truth on held-out episodes, cost measurements, reports."""
