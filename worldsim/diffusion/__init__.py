"""Layer 2: noise and objectives as pure functions; the model is an argument."""
