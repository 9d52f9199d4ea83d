"""What is learned: one recipe per module, each with the loss of a batch and what a checkpoint exports.

`autoencoder`, then the world model (`map`, `sequence`) on its latents, then `decoder` on the world model's predictions.
"""
