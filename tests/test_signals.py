"""Who ends with its launcher, and who does not."""

import subprocess
import sys

import pytest
from harness import PATIENCE_SECONDS, environment

TRAINER = "from scalegan.signals import stop_with_launcher; stop_with_launcher(); print('goes on')"
LAUNCHER = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {TRAINER!r}]).returncode)"


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told on Linux alone")
@pytest.mark.parametrize("first, said", [
    ([sys.executable, "-c", LAUNCHER], "goes on\n"), (["sh", "-c", '"$@"; :', "", sys.executable, "-c", TRAINER], "")])
def test_process_1_is_the_launcher_in_a_container_and_else_who_gets_orphans(first: list[str], said: str) -> None:
    container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*container, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to number processes anew: root")
    launched = environment(ACCELERATE_MIXED_PRECISION="no")
    found = subprocess.run([*container, *first], env=launched, timeout=PATIENCE_SECONDS, stdout=subprocess.PIPE,
                           text=True)
    assert found.stdout == said
