"""Floor 5: the window. The only package that imports pygame and moderngl, and it never calls torch.

`application` is the loop; `window` the screen, `renderer` the drawing, `hud` what is said, `input_handler` keys and
mouse.
"""
