"""Layer 4: training, from a reference world or recordings to a playable preset.

`workers` and `recordings` supply episodes, `replay_buffer` samples clips, `recipes` define losses, `loop` trains.
"""
