"""Mazes in ViZDoom with Freedoom's textures: the first true world.

`config` and `seeds` say what there is, `layout` plans a maze from a seed, `wad` writes it, `world` plays it and
`policies` walk in it. Only `engine` imports vizdoom, and only when an engine starts.
"""
