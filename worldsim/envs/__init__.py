"""Layer 5: Gymnasium environments. Importing this package registers them, and loads no torch.

`worldsim/NAME-v0` is the learned world of the bundled preset NAME, and `worldsim/KIND-NAME-v0` the ground-truth world
it was trained on (KIND is doom or memory_maze), with the same spaces. `worldsim/Preset-v0` and `worldsim/World-v0` take
any `preset=` that `worldsim play` accepts. `single` has one environment, and the spaces, options and seeds that it
shares with `batched`: many of them, with one call of the networks per step.
"""

from __future__ import annotations

from typing import Any

from worldsim.core.errors import MissingPackageError
from worldsim.core.install import install_hint
from worldsim.presets.config import read_config_json
from worldsim.presets.resolve import CONFIG_FILE, bundled_presets
from worldsim.worlds.recorded import RecordedWorldConfig

MAX_EPISODE_STEPS = 1000
"""Default horizon: about a minute of play."""
_LEARNED = {
    "entry_point": "worldsim.envs.single:make_learned_env",
    "vector_entry_point": "worldsim.envs.batched:BatchedEnv",
}
_REFERENCE = {"entry_point": "worldsim.envs.single:make_reference_env"}


def register_all() -> None:
    """Side effects: Gymnasium's registry. Raises: MissingPackageError without gymnasium."""
    _register("Preset", **_LEARNED)
    _register("World", **_REFERENCE)
    for name, folder in bundled_presets().items():
        config, _ = read_config_json(folder / CONFIG_FILE)
        _register(name, **_LEARNED, kwargs={"preset": name})
        if not isinstance(config.world, RecordedWorldConfig):  # presets of recordings have no ground-truth world
            _register(f"{config.world.kind}-{name}", **_REFERENCE, kwargs={"preset": name})


def _register(name: str, **spec: Any) -> None:
    try:
        import gymnasium
    except ImportError as error:
        message = f"the environments need the gymnasium package ({error})"
        raise MissingPackageError(message, hint=install_hint("gym")) from error
    gymnasium.register(f"worldsim/{name}-v0", max_episode_steps=MAX_EPISODE_STEPS, **spec)


register_all()
