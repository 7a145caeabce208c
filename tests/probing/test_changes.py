"""Whether what was asked of images is seen in them, on cases small enough to count by hand."""

import pytest
import torch

from scalegan.probing.changes import accuracies, changes

NAMES = ("Smiling", "Black_Hair", "Blond_Hair", "Male")
STAY = torch.nan


def table(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "1" for mark in row] for row in rows])


def test_of_the_attributes_that_change_the_share_at_the_goal_and_of_the_others_the_share_that_stay() -> None:
    goals = torch.tensor([[1, STAY, STAY, STAY], [0, STAY, STAY, 1], [1, STAY, STAY, 0], [STAY, STAY, STAY, 0]])
    before = table("0000", "1000", "1001", "0001")
    after = table("1100", "0000", "1001", "0011")       # goals: reached; one of two; one of two; not reached
    found = {name: float(value) for name, value in changes(before, after, goals, NAMES).items()}
    assert found == {"before": pytest.approx(1 / 6), "after": pytest.approx(3 / 6), "all": 0.25,
                     "others": pytest.approx(8 / 10)}


def test_other_hair_colours_are_left_out_where_a_hair_colour_changes() -> None:
    goals = torch.tensor([[STAY, 1, STAY, STAY], [1, STAY, STAY, STAY]])
    before, after = table("0010", "0010"), table("0100", "1000")
    assert float(changes(before, after, goals, NAMES)["others"]) == pytest.approx(4 / 5)   # blond of the second alone


def test_accuracy_is_of_each_class_and_of_an_attribute_the_mean_over_having_and_lacking_it() -> None:
    assert accuracies(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])).tolist() == pytest.approx([2 / 3, 1])
    seen, true = table("10", "10", "10", "10").long(), table("10", "00", "00", "00").long()
    first, second = accuracies(seen, true).tolist()
    assert first == pytest.approx(0.5) and second != second
