"""Floor 3: the preset, a folder that holds what was learned.

`config` and `resolve` are torch-free, `store` reads and writes the folder.
"""
