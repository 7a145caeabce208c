"""What `tools/fine_tuning_gain.py` says of curves."""

from tools.fine_tuning_gain import SCRATCH, saved


def test_images_are_those_of_the_first_checkpoint_that_is_as_good() -> None:
    curves = {SCRATCH: {10: 0.5, 20: 0.2, 30: 0.25}, "early": {10: 0.2, 20: 0.1, 30: 0.1}, "equal": {10: 0.3, 20: 0.2},
              "never": {10: 0.3, 20: 0.21}}
    assert saved(curves) == {"early": [10, 20], "equal": [20, 20], "never": [None, 20]}
