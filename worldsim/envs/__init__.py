"""Layer 5: Gymnasium environments. Importing this package registers them, and loads no torch.

`worldsim/NAME-v0` is the learned world of the bundled preset NAME, and `worldsim/KIND-NAME-v0` the ground-truth world
it was trained on (KIND is doom or memory_maze), with the same spaces. `worldsim/Preset-v0` and `worldsim/World-v0` take
any `preset=` that `worldsim play` accepts. `single` has one environment, `batched` many of them with one call of the
networks per step, `spaces` the observations, actions, options and seeds of both.
"""

from worldsim.envs.registration import register_all

register_all()
