"""`scalegan study faces`: the trainings, then a table and a picture for each question."""

from collections.abc import Sequence
from pathlib import Path

from scalegan.errors import UserError
from scalegan.metrics.images import check_same_shape, described, open_images
from scalegan.models.dcgan import RESOLUTIONS
from scalegan.study.faces.attributes import chosen
from scalegan.study.faces.questions import QUESTIONS
from scalegan.study.faces.trainings import Plan, minutes_of, trainings
from scalegan.support.files import write_whole

_SIDES = [side for side in RESOLUTIONS if side >= 32]       # of DCGAN, that the iterative GAN has, too


def study(questions: Sequence[str], train: str, test: str, seeds: Sequence[int], images: int, translator_images: int,
          samples: int, out: Path, keys: Sequence[str] = ()) -> None:
    """Trains what the questions need, or goes on where an earlier call stopped, and writes table.json, table.md,
    picture.png and a picture for each question.

    Args:
        questions: names from QUESTIONS.
        train, test: sets with CelebA's attributes and equal shapes, `train` a prepared one.
        images: of the training of a model that makes images from z.
        translator_images: of one that makes them from photos.
        samples: photos of `test` that figures are over.
        keys: further recipe keys of all trainings.

    Raises:
        UserError: if a set lacks attributes or has another size, or a training failed.
    """
    of_train, of_test = open_images(train), open_images(test)
    check_same_shape(of_train, of_test)
    for one in (of_train, of_test):
        if one.labels is None or one.labels.ndim != 2:
            raise UserError(f"{one.name} has no attributes; prepare it with --kind celeba, or --labels attributes")
    if of_train.shape[0] != 3 or of_train.shape[1] not in _SIDES:
        raise UserError(f"{of_train.name} has images of {described(of_train.shape)}, but this study needs colour and "
                        f"{', '.join(map(str, _SIDES))} px; prepare the photos with --resolution 64")
    attributes = chosen(of_train.labels, of_train.classes, of_train.name)
    needed = {name for question in questions for name in QUESTIONS[question].trainings(attributes)}
    plan = Plan(of_train, images, translator_images, out, tuple(keys))
    chosen_trainings = {name: one for name, one in trainings(attributes, translator_images).items() if name in needed}
    plan.carry_out(chosen_trainings, seeds)
    lines = [f"| {name} | {minutes_of(plan.run(name, seed)):.1f} |" for seed in seeds for name in chosen_trainings]
    write_whole(out / "table.md", "\n".join(["| training | minutes |", "| --- | --- |", *lines]) + "\n")
