"""Feature grids are interpolated linearly, and padded beyond their border."""

from __future__ import annotations

import torch

from worldsim.models.maps.networks import FeatureGrid


def test_grids_are_interpolated_linearly_and_padded_with_their_border() -> None:
    tables = FeatureGrid((3, 5), 2)
    read = tables(torch.tensor([[5.0, -0.2], [1.0, -0.2]]))
    assert read.shape == (2, tables.size)
    assert torch.allclose(read[0], read[1]), "beyond the plane its edge is read"
    middle, ends = tables(torch.tensor([[0.25, 0.5]])), tables(torch.tensor([[0.0, 0.5], [0.5, 0.5]]))
    assert torch.allclose(middle[0], ends.mean(0), atol=1e-6)
    assert [f.shape for f in tables.read(torch.zeros(7, 6, 2))] == [(2, 7, 6), (2, 7, 6)]
