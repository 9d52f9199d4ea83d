"""Only held-out seeds and valid settings are accepted."""

from __future__ import annotations

import pytest

from worldsim.core.errors import UsageError
from worldsim.evaluation.config import TASKS, EvalConfig, parse_seeds, parse_tasks


def test_a_seed_from_the_training_range_is_rejected() -> None:
    assert EvalConfig(seeds=(900_000,)).seeds == (900_000,)
    with pytest.raises(UsageError) as caught:
        EvalConfig(seeds=(900_000, 899_999))
    assert "899999" in caught.value.message and "900000" in caught.value.hint


def test_seeds_are_read_as_a_half_open_range() -> None:
    assert parse_seeds("900000:900003") == (900_000, 900_001, 900_002)


def test_a_single_number_is_a_number_of_seeds() -> None:
    assert parse_seeds("2") == (900_000, 900_001)


def test_tasks_are_comma_separated_and_sorted_into_the_order_of_the_tables() -> None:
    assert parse_tasks("spin, rollout") == ("rollout", "spin")
    assert parse_tasks(None) == tuple(TASKS)


def test_an_unknown_task_is_rejected_with_the_nearest_name() -> None:
    with pytest.raises(UsageError) as caught:
        EvalConfig(seeds=(900_000,), tasks=parse_tasks("rollout,retreival"))
    assert "retreival" in caught.value.message and "retrieval" in caught.value.hint


@pytest.mark.parametrize("text", ["900000", "0", "900003:900000", "900000:900000", "a:b", ":5", "5:", "-1:3", "1:2:3"])
def test_invalid_seed_ranges_are_rejected_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seeds(text)
    assert "900000:900016" in caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        {"seeds": ()},
        {"seeds": (900_000, 900_000)},
        {"horizons": ()},
        {"horizons": (0, 10)},
        {"horizons": (10, 10)},
        {"horizons": (30, 10)},
        {"num_steps": 0},
        {"context_frames": 0},
        {"tasks": ()},
        {"drift_distances": (50, 50)},
        {"idle_frames": 1},
    ],
)
def test_invalid_values_are_rejected(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        EvalConfig(**{"seeds": (900_000,), **values})  # type: ignore[arg-type]
