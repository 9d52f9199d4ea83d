"""What is learned: one recipe per module, each with the loss of a batch and what a checkpoint exports.

`autoencoder`, then the world model (`map`, `sequence`, `recall`) on its latents, then the decoder on the world model's
predictions.
"""
