"""Builds the world model of a configuration. The only module that knows all kinds of models."""

from __future__ import annotations

import math

from worldsim.models.config import FixedMapConfig, MapConfig, MapModelConfig, MappedModelConfig, ModelConfig
from worldsim.models.mapped import MappedTrunkModel, MappedTwoStreamModel
from worldsim.models.maps.fixed_map import FixedMapMemory
from worldsim.models.maps.map_model import MapMemory, MapModel
from worldsim.models.maps.map_tracker import SpatialMapMemory
from worldsim.models.sequence.bidirectional import BidirectionalModel, ChunkModel
from worldsim.models.sequence.trunk import TrunkModel
from worldsim.models.sequence.two_stream import TwoStreamModel
from worldsim.models.world_model import LatentShape, WorldModel


def build_world_model(config: ModelConfig, latent_shape: LatentShape, action_size: int) -> WorldModel:
    """The model of `config` with fresh weights."""
    if isinstance(config, MapModelConfig):
        return MapModel(config, latent_shape, action_size, _build_map(config.map, latent_shape, action_size))
    if isinstance(config, MappedModelConfig):
        mapped = MappedTrunkModel if config.denoiser.kind == "separate" else MappedTwoStreamModel
        return mapped(config, latent_shape, action_size, _build_map(config.map, latent_shape, action_size))
    if config.denoiser.kind == "separate":
        return TrunkModel(config, latent_shape, action_size)
    two_stream = {"chunk": ChunkModel, "bidirectional": BidirectionalModel}.get(config.attention.kind, TwoStreamModel)
    return two_stream(config, latent_shape, action_size)


def _build_map(config: MapConfig, latent_shape: LatentShape, action_size: int) -> MapMemory:
    shapes, view_rad = (latent_shape, action_size, config.width), math.radians(config.view_deg)
    if isinstance(config, FixedMapConfig):
        return FixedMapMemory(*shapes, view_rad=view_rad, solid_walls=config.solid_walls)
    is_given = config.pose == "given"
    return SpatialMapMemory(*shapes, view_rad=view_rad, pose_is_action=is_given, solid_walls=config.solid_walls)
