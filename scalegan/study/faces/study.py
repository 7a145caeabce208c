"""The study as a whole: the trainings, then a table and a picture for each question."""

from collections.abc import Sequence
from pathlib import Path

from scalegan.data.spec import Spec
from scalegan.errors import UserError
from scalegan.metrics.images import StoredImages, check_same_shape, described, open_images
from scalegan.models.dcgan import RESOLUTIONS
from scalegan.probing.labelled import matching, open_labelled
from scalegan.study.faces import report
from scalegan.study.faces.attributes import chosen, remark
from scalegan.study.faces.bench import COMPARED, Bench
from scalegan.study.faces.questions import QUESTIONS
from scalegan.study.faces.trainings import Plan, trainings
from scalegan.study.tables import medians

_SIDES = [side for side in RESOLUTIONS if side >= 32]       # of DCGAN, that the iterative GAN has, too


def study(questions: Sequence[str], train: str, test: str, seeds: Sequence[int], images: int, translator_images: int,
          samples: int, out: Path) -> None:
    """Trains what the questions need, or goes on where an earlier call stopped, and writes table.json, table.md,
    picture.png and a picture for each question that has one.

    Args:
        questions: names from QUESTIONS.
        train, test: sets with CelebA's attributes and equal shapes, `train` a prepared one.
        images: that the generator of a model which makes faces from z sees in training.
        translator_images: that the generator of one which makes them from photos sees.
        samples: photos of `test` that figures are over.

    Raises:
        UserError: if a set lacks attributes or has another size, or a training failed, or a package is missing.
    """
    of_train, of_test = open_images(train), open_images(test)
    if not isinstance(of_train, StoredImages):
        raise UserError(f"--data {train} is not a prepared set; prepare it with `scalegan prepare --kind celeba`")
    check_same_shape(of_train, of_test)
    if of_train.shape[0] != 3 or of_train.shape[1] not in _SIDES:
        raise UserError(f"{of_train.name} has images of {described(of_train.shape)}, but this study needs colour and "
                        f"{', '.join(map(str, _SIDES))} px; prepare the photos with --resolution 64")
    spec = Spec("image", of_train.shape)
    to_learn = open_labelled(train, spec)
    if not to_learn.are_attributes:
        raise UserError(f"{train} has classes, but this study needs attributes; prepare it with --labels attributes")
    held_out = matching(open_labelled(test, spec, "--test"), to_learn)[:samples]
    attributes = chosen(of_train.labels, of_train.classes, of_train.name)
    of_all = trainings(attributes, translator_images)
    needed = {name for question in questions for name in QUESTIONS[question].trainings(attributes)}
    plan = Plan(of_train, images, translator_images, out)
    bench, found, pictures = Bench(plan, attributes, to_learn, held_out), {}, {}
    for name in questions:
        QUESTIONS[name].check(bench)
    people = ""
    if any("identity" in QUESTIONS[name].columns for name in questions):
        named = bench.embedding.identity
        people = (f" Identity distances are by {named['name']} (sha256 {named['sha256'][:12]}), means over "
                  f"{min(COMPARED, len(held_out))} faces.")
    plan.carry_out({name: one for name, one in of_all.items() if name in needed}, seeds)

    for name in questions:
        question = QUESTIONS[name]
        of_seeds = [question.measured(bench, seed) for seed in seeds]
        rows = {row: [figures[row] for figures in of_seeds] for row in of_seeds[0]}
        found[name] = question, rows, question.claims({row: medians(figures) for row, figures in rows.items()})
        if question.draw:
            pictures[question.title] = out / f"{name}.png"
            question.draw(pictures[question.title], bench, seeds[0], rows)
    preface = (f"{len(to_learn):,} photos to learn from, {len(held_out):,} to test with, {of_train.shape[1]} px; "
               f"{images:,} images for each generator, {translator_images:,} for a translator's; seeds "
               f"{', '.join(map(str, seeds))}. Attributes that change: {', '.join(attributes)}; {remark(attributes)}."
               f"{people}")
    report.write(out, preface, found)
    if pictures:
        report.join_pictures(out / "picture.png", pictures)
