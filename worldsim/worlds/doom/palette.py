"""Which of Freedoom's textures the mazes use, chosen by eye and by low high-frequency energy on contact sheets.

Nothing here is animated: a flickering torch or a blinking panel would teach a model nothing but noise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Theme:
    """What one kind of cell looks like: texture names of the Freedoom WAD, or of `paint` (WS...)."""

    name: str
    wall: str
    floor: str
    ceiling: str


@dataclass(frozen=True, kw_only=True)
class LandmarkKind:
    """A thing that stands still, 32 units wide (a corner of a cell has room for it): its Doom editor number."""

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
