"""Mazes in ViZDoom with Freedoom's textures.

`config` describes a world, `layout` plans a maze from a seed, `wad` writes it, `world` plays it, `policies` walk in it.
Only `engine` imports vizdoom, when an engine starts.
"""
