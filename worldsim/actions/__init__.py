"""Floor 1: inputs. `bindings` is the key table, `encoding` turns an Action into the model's vector.

No torch, no pygame.
"""
