"""Floor 4: from a true world to a playable preset.

`stream` renders, `pool` keeps clips, the recipes train, `loop` drives.
"""
