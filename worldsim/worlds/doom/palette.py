"""Freedoom textures of the mazes, chosen by eye on contact sheets and by low high-frequency energy.

None is animated: a flickering torch or blinking panel would teach a model only noise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Look of one kind of cell: texture names of the Freedoom WAD, or painted ones of `wad` (WS...)."""

    name: str
    wall: str
    floor: str
    ceiling: str


@dataclass(frozen=True, kw_only=True)
class LandmarkKind:
    """A static thing by its Doom editor number; 32 units wide, so that it fits into a cell's corner."""

    name: str
    thing: int


THEMES = (
    Theme(name="red", wall="REDWALL1", floor="FLAT5", ceiling="CEIL3_5"),
    Theme(name="green", wall="DOKGRIR", floor="CRATOP2", ceiling="CEIL3_5"),
    Theme(name="blue", wall="COMPBLUE", floor="FLAT19", ceiling="AQF067"),
    Theme(name="orange", wall="DOGLDIR", floor="GRASS2", ceiling="CEIL3_5"),
    Theme(name="white", wall="AQCONC17", floor="FLOOR1_6", ceiling="CEIL3_5"),
    Theme(name="wood", wall="A-MYWOOD", floor="FLAT14", ceiling="AQF067"),
    Theme(name="yellow", wall="WSYELLOW", floor="FLAT23", ceiling="CEIL3_5"),
    Theme(name="lilac", wall="WSLILAC", floor="AQF067", ceiling="CEIL3_5"),
    Theme(name="bronze", wall="BRONZE2", floor="FLOOR3_3", ceiling="AQF067"),
    Theme(name="tan", wall="TANROCK2", floor="FLOOR0_2", ceiling="CEIL3_5"),
    Theme(name="crimson", wall="SKIN2", floor="FLAT5_3", ceiling="AQF067"),
    Theme(name="silver", wall="SILVER1", floor="FLOOR7_1", ceiling="CEIL3_5"),
)

TRIM_WALL = "SHAWN2"
TRIM_FLOOR = "FLAT19"
TRIM_CEILING = "CEIL3_5"

LANDMARK_KINDS = (
    LandmarkKind(name="green pillar", thing=30),
    LandmarkKind(name="red pillar", thing=32),
    LandmarkKind(name="tech pillar", thing=48),
    LandmarkKind(name="lamp", thing=2028),
    LandmarkKind(name="burnt tree", thing=43),
    LandmarkKind(name="short green pillar", thing=31),
)
