"""Layer 5: the window. The only package that imports pygame and moderngl; it never calls torch.

`application` is the loop, `window` the display, `renderer` the drawing, `hud` the panels, `input` keys and mouse.
"""
