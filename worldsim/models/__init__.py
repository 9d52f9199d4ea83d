"""Layer 2: torch modules (autoencoder, sequence models, maps) and the state they carry. Independent of the engine."""
