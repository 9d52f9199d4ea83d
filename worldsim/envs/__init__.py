"""Floor 5: Gymnasium environments. Importing this registers them, and loads no torch.

`worldsim/NAME-v0` is the learned world of the bundled preset NAME, `worldsim/KIND-NAME-v0` the true world it was
learned from (KIND is doom or memory_maze), with the same spaces. `worldsim/Preset-v0` and `worldsim/World-v0` are the
same two for any `preset=` that `worldsim play` would take. `single` is one environment, `batched` many of them over one
call of the networks, `spaces` what both say of observations, actions, options and seeds.
"""

from worldsim.envs.registration import register_all

register_all()
