"""The device of a command."""

from __future__ import annotations

import pytest
import torch

from worldsim.core.devices import choose_device
from worldsim.core.errors import DeviceError


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_if_available_otherwise_the_cpu(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == expected


def test_available_device_keeps_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda:1") == "cuda:1" and choose_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [("cuda:0", "cuda:0 is not available", "doctor"), ("cudda", "no device 'cudda'", "did you mean 'cuda'")],
)
def test_other_devices_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, message: str, hint: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError) as caught:
        choose_device(name)
    assert message in caught.value.message and hint in caught.value.hint
