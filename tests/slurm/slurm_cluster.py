"""Helpers for tests of SLURM and of runs submitted to it."""

import subprocess
from pathlib import Path

import harness

from scalegan.cluster.records import history, newest_checkpoint, read_job

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Cluster:
    def command(self, *words: object, check: bool = True) -> str:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = harness.cli("submit", "profile=local_slurm", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def state(self, job: str) -> str:
        return self.fact(job, "JobState")

    def fact(self, job: str, name: str) -> str:
        said = self.command("scontrol", "show", "job", "--oneliner", job)
        return next(word.partition("=")[2] for word in said.split() if word.startswith(f"{name}="))

    def await_report(self, run: Path, after_images: int = -1) -> str:
        """Waits for a report of more than `after_images` images and returns the job's id."""
        job = read_job(run).id
        harness.wait_until(lambda: self.state(job) in ENDED or (
            (run / "metrics.jsonl").exists() and any(row["images"] > after_images for row in harness.reports(run))),
            f"{run} reports")
        assert self.state(job) == "RUNNING", self.logs(run)
        return job

    def await_end(self, run: Path, state: str = "COMPLETED") -> None:
        job = read_job(run)
        harness.wait_until(lambda: self.state(job.id) in ENDED, f"job {job.id} has ended")
        assert self.state(job.id) == state, self.logs(run)

    def await_start(self, run: Path, restart: int) -> None:
        """Waits until the run's job has restarted `restart` times."""
        job = read_job(run).id

        def started() -> bool:
            return any(event["event"] == "started" and event["restart"] >= restart for event in history(run, job))
        harness.wait_until(lambda: started() or self.state(job) in ENDED, f"start {restart} of {run}")
        assert started(), f"job {job} has ended\n{self.logs(run)}"

    def logs(self, run: Path) -> str:
        return "\n".join(path.read_text() for path in sorted((run / "job" / "log").glob("*.out")))


def saved_images(run: Path) -> int:
    newest = newest_checkpoint(run)
    return newest[0] if newest else -1
