"""Layer 2: noise, objectives and samplers as pure functions; the model is an argument."""
