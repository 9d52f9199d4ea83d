"""Floor 4: from a true world to a playable preset.

`workers` renders, `replay_buffer` keeps clips, the recipes train, `loop` drives.
"""
