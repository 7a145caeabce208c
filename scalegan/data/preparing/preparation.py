"""`scalegan prepare`: inspects the source, plans the shards, has workers write them, and completes the set."""

import argparse
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from scalegan.data import beton_file
from scalegan.data.captions import Captions
from scalegan.data.manifest import Manifest
from scalegan.data.preparing import announcement, journal
from scalegan.data.preparing.announcement import REJECTED
from scalegan.data.preparing.estimate import measure
from scalegan.data.preparing.journal import RECORD, Settings
from scalegan.data.preparing.plan import Plan, Span, cut, shard_records
from scalegan.data.preparing.settings import check_latents, check_volumes, settings_of
from scalegan.data.preparing.shard_job import WORK, Outcome, Progress, Rejected, ShardJob
from scalegan.data.preparing.shards import finish
from scalegan.data.preparing.sources import SIDES, guess_kind, open_source
from scalegan.data.preparing.sources.captioned import captioned
from scalegan.data.preparing.sources.tabulated import tabulated
from scalegan.data.preparing.verify import damage_of_set
from scalegan.errors import UsageError, UserError
from scalegan.support import worker_pool
from scalegan.support.files import write_whole
from scalegan.support.progress import Bar

_SAMPLE = 64
#: Convert a finished folder of WebDataset shards to a `--format`. They must leave an existing result as it is.
CONVERTERS: dict[str, Callable[[Path], None]] = {"webdataset": lambda folder: None, "ffcv": beton_file.convert}


class Interrupted(UserError):
    """Stopped by a signal; finished shards are kept."""

    exit_code = 75


class TooManyRejected(UserError):
    """More images are broken than may be; `fact` leaves out `scalegan prepare`'s own remedy."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}{remedy}")
        self.fact = fact


def prepare(options: argparse.Namespace) -> Path | None:
    """Writes the set that the options describe, or the part of it that is missing.

    Returns:
        The folder to train with, if this call completed the set.
    """
    try:
        with _interruptible():
            return _prepare_pairs(options) if options.kind == "pairs" else _prepare(options)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{options.dest}: {os.strerror(error.errno)}; free some space, and run the same command to "
                        "resume from the finished shards") from error


def _prepare_pairs(options: argparse.Namespace) -> None:
    """Writes DEST/A and DEST/B, whose records with equal numbers are pairs."""
    made = {side: _prepare(options, side) for side in SIDES}
    if not all(made.values()):
        return
    rejected = [{json.loads(line)["key"] for line in (options.dest / side / REJECTED).read_text().splitlines()}
                for side in SIDES]
    if rejected[0] != rejected[1]:
        raise UserError(f"{options.dest}: only one image of a pair was left out, such as "
                        f"{sorted(rejected[0] ^ rejected[1])[0]} ({REJECTED} says why); remove these pairs from the "
                        "source, and prepare it in a new folder")
    backend = "" if options.format == "webdataset" else f" data.backend={options.format}"
    print(f"train with data.path={made['B']} streams.input.path={made['A']}{backend}, or the other way round")


def _prepare(options: argparse.Namespace, side: str = "") -> Path | None:
    options = argparse.Namespace(**{**vars(options), "dest": options.dest / side})
    if options.format not in CONVERTERS:
        raise UsageError(f"--format {options.format} is unknown; use {' or '.join(CONVERTERS)}")
    check_latents(options)
    if options.kind == "volumes":
        check_volumes(options)
    for path in options.source:
        if not path.exists():
            raise UserError(f"{path} does not exist")
    if options.format == "ffcv":
        beton_file.require()        # fail now, not after all shards are written
    kind = options.kind or _guess(options.source[0])
    source = open_source(kind, options.source, options.labels, options.split, options.annotations, side or SIDES[0])
    if not len(source):
        raise UserError(f"{source.name} holds no images")
    captions = None
    if options.captions:
        source, captions = captioned(source, options.captions, options.text_encoder)
    if options.conditions:
        source, captions = tabulated(source, options.conditions)
    if captions is not None:
        options.labels = f"captions {captions.digest()}"       # other captions are another set
    pictures = source.sample(_SAMPLE)
    begun = journal.begun(options.dest)
    settings = settings_of(options, kind, pictures, begun)
    encoding = None
    if options.encoder is not None:
        from scalegan.data.preparing.encoding import encoding_of  # which imports torch

        encoding = encoding_of(options, settings.image())
        settings = replace(settings, encoder=str(encoding.latents))
    job = ShardJob(source, settings.image(), settings.validation, options.dest, settings.only_grey, encoding)
    sample = measure(job, pictures)
    if not settings.shard_records:
        settings = replace(settings, shard_records=shard_records(len(source), sample.record_bytes))
    workers = options.workers or (encoding and encoding.usual_workers()) or os.cpu_count() or 1
    announcement.announce(source, settings, job, sample, workers)
    if options.dry_run:
        return None
    if journal.is_complete(options.dest, settings, begun):
        now = cut(source, settings.shard_records, settings.validation)
        if journal.metadata_of(options.dest / RECORD)["keys"] != now.fingerprint:
            print(f"the keys or labels of {source.name} have changed since {options.dest} was made, or an earlier "
                  "version read them differently; the set is left as it is; use another folder to prepare it anew")
        shutil.rmtree(options.dest / WORK, ignore_errors=True)      # left by a call that was killed at its very end
        for folder in _sets(options.dest):
            CONVERTERS[options.format](folder)
        print(f"{options.dest} is already complete; run `scalegan prepare {options.dest} --verify` to check it")
        return None
    with _claimed(options.dest, options.part) as is_last:
        return _write(job, settings, options, workers, is_last, captions)


def verify(dest: Path) -> int:
    """Checks every shard and record of the sets in `dest`."""
    damaged = []
    for folder in _sets(dest):
        manifest = Manifest.load(folder)
        files = len(manifest.shards) + 1 + (manifest.labels.kind == "vectors") + (manifest.image.kind == "latent")
        with Bar("verifying", files, unit="files") as bar:
            for name, damage in damage_of_set(folder):
                bar.advance(1)
                if damage:
                    damaged.append(f"{folder / name} {damage}")
        print(f"{folder}: {manifest.records:,} records in {len(manifest.shards)} shards, content {manifest.content}")
    if damaged:
        print("\n".join(damaged[:20]), file=sys.stderr)
        raise UserError(f"{len(damaged)} files are damaged, such as {damaged[0]}; remove {dest} and prepare it again")
    print("every shard and record matches its checksum")
    return 0


def _sets(dest: Path) -> list[Path]:
    """The set in `dest`, or its train and val. Raises UserError if any is missing."""
    if (dest / "manifest.json").exists():
        return [dest]
    folders = [dest / "train", dest / "val"]
    missing = [folder for folder in folders if not (folder / "manifest.json").exists()]
    if len(missing) == len(folders):
        raise UserError(f"{dest} has no manifest.json; it is not a finished set")
    if missing:
        raise UserError(f"{missing[0]} has no manifest.json, so {dest} is incomplete; run the command that made it "
                        f"again, or remove {dest} first if that changes nothing")
    return folders


def _guess(path: Path) -> str:
    kind = guess_kind(path)
    print(f"{path} looks like --kind {kind}")
    return kind


@contextmanager
def _claimed(dest: Path, part: tuple[int, int] | None) -> Iterator[Callable[[], bool]]:
    """Locks the folder while we write: two calls must not share it, but the parts of one set do.

    Yields a function that waits until no other part is running, and returns whether the set still has to be completed.
    """
    work = dest / WORK
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("a") as lock, (work / f"lock.{part and part[0]}").open("a") as own:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(lock, (fcntl.LOCK_SH if part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `scalegan prepare` is writing to {dest}") from None

        def is_last() -> bool:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return not (dest / RECORD).exists()

        yield is_last


@contextmanager
def _interruptible() -> Iterator[None]:
    """Makes SIGTERM, and SIGHUP unless it is ignored, act like Ctrl-C; each ends with a one-line message."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else [])]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; finished shards are kept; run the same command to resume") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(job: ShardJob, settings: Settings, options: argparse.Namespace, workers: int,
           is_last: Callable[[], bool], captions: Captions | None) -> Path | None:
    plan = cut(job.source, settings.shard_records, settings.validation)
    journal.agree(job.folder, settings, plan)
    number, parts = options.part or (1, 1)
    mine = plan.spans[len(plan.spans) * (number - 1) // parts:len(plan.spans) * number // parts]
    for subset in plan.records:
        (job.folder / subset).mkdir(exist_ok=True)
        (job.folder / WORK / subset).mkdir(exist_ok=True)
    outcomes = _outcomes(job, mine)
    if outcomes:
        print(f"resuming: {len(outcomes)} of {len(mine)} shards are finished", flush=True)
    _write_missing(job, plan, mine, outcomes, options.max_rejected, workers)
    if not is_last():
        return None
    outcomes = _outcomes(job, plan.spans)
    if len(outcomes) == len(plan.spans):
        _check_rejected(job.folder, [record for o in outcomes.values() for record in o.rejected], plan.total,
                        options.max_rejected)
        _finish(job, plan, outcomes, settings, options.format, captions)
        return job.folder / next(iter(plan.records))
    print(f"part {number} of {parts} is done; {len(plan.spans) - len(outcomes)} shards are left to other parts")
    return None


def _outcomes(job: ShardJob, spans: list[Span]) -> dict[Span, Outcome]:
    """The outcomes of those shards that are finished."""
    return {span: outcome for span in spans if (outcome := job.finished(span)) is not None}


def _write_missing(job: ShardJob, plan: Plan, spans: list[Span], outcomes: dict[Span, Outcome],
                   max_rejected: int | float, workers: int) -> None:
    """Has workers write the shards of `spans` that are not in `outcomes`, and adds theirs to it."""
    missing = [span for span in spans if span not in outcomes]
    rejected = [record for outcome in outcomes.values() for record in outcome.rejected]
    _check_rejected(job.folder, rejected, plan.total, max_rejected)
    with (closing(worker_pool.run(job, missing, min(workers, len(missing)))) as messages,
          Bar("preparing", sum(span.records for span in spans), sum(span.records for span in outcomes)) as bar):
        for message in messages:
            if isinstance(message, worker_pool.Done):
                outcomes[message.job] = message.result
            elif message is not None:
                progress: Progress = message.what
                rejected += progress.rejected
                bar.advance(progress.records, f"{len(rejected)} rejected" if rejected else "")
                _check_rejected(job.folder, rejected, plan.total, max_rejected)


def _check_rejected(dest: Path, rejected: list[Rejected], total: int, allowed: int | float) -> None:
    """Raises UserError if more images are rejected than allowed: a number of them (int), or a share (float)."""
    if (len(rejected) if isinstance(allowed, int) else len(rejected) / total) <= allowed:
        return
    _list_rejected(dest, rejected)
    last = rejected[-1]
    raise TooManyRejected(f"{len(rejected):,} of {total:,} images have been rejected, such as {last.key} "
                          f"({last.reason})",
                          f": more than --max-rejected {_limit(allowed)} allows; see {dest / REJECTED}; raise "
                          "--max-rejected (1.0 allows all), or fix the source and start in a new folder")


def _limit(allowed: int | float) -> str:
    """A limit as the user would write it, and what it means where that may surprise."""
    return f"{allowed:g}" if isinstance(allowed, float) else f"{allowed} ({allowed} image{'s' * (allowed != 1)})"


def _list_rejected(dest: Path, rejected: list[Rejected]) -> None:
    write_whole(dest / REJECTED, "".join(json.dumps(record._asdict()) + "\n" for record in rejected))


def _finish(job: ShardJob, plan: Plan, outcomes: dict[Span, Outcome], settings: Settings, format: str,
            captions: Captions | None) -> None:
    """Joins the shards into sets; prepare.json, written last, marks them as complete."""
    for subset in plan.records:
        kept = [outcomes[span] for span in plan.spans if span.subset == subset and outcomes[span].shard.records]
        if not kept:
            raise UserError(f"no record is left for {job.folder / subset}; change --validation or the source")
        converted = any(outcome.converted for outcome in kept)
        if captions is not None:
            captions.save(job.folder / subset)
        if job.encoding is not None:
            job.encoding.save(job.folder / subset)
        finish(job.folder / subset, [o.shard for o in kept], [o.index for o in kept],
               replace(job.stored, colour="sRGB" if converted else ""), job.source.labels, job.source.name)
        CONVERTERS[format](job.folder / subset)
    rejected = [record for span in plan.spans for record in outcomes[span].rejected]
    _list_rejected(job.folder, rejected)
    enlarged = sum(outcome.enlarged for outcome in outcomes.values())
    converted = sum(outcome.converted for outcome in outcomes.values())
    reduced = sum(outcome.reduced for outcome in outcomes.values())
    facts = {"settings": settings.tree(), "keys": plan.fingerprint, "records": plan.total - len(rejected),
             "rejected": len(rejected), "enlarged": enlarged, "converted_to_srgb": converted}
    write_whole(job.folder / RECORD, json.dumps(facts, indent=1))
    shutil.rmtree(job.folder / WORK)
    cut = [share for outcome in outcomes.values() for share in outcome.cut]
    announcement.report(job.folder, settings, plan, rejected, enlarged, converted, reduced, cut)
