"""A real SLURM on this machine, for trials and tests: `up` starts it, `down` stops it and leaves nothing behind.

It runs one slurmctld and several slurmd, each of which is a node to SLURM. Partition `low` is the default; jobs in
partition `high` preempt those in `low`, which are requeued. Jobs get exclusive nodes. All files are in one folder,
except /etc/slurm/slurm.conf (only if there is none) and some lines in /etc/hosts, which `down` removes. Needs root; on
Debian, `up` installs slurm-wlm and munge if they are missing.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from scalegan.errors import UserError

FOLDER = Path("/tmp/scalegan_local_slurm")
_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun")
_LINK, _HOSTS = Path("/etc/slurm/slurm.conf"), Path("/etc/hosts")
_MARK = "# scalegan local_slurm"
_VARIABLE = "SCALEGAN_LOCAL_SLURM"  # marks our daemons and the processes they start
_TIMEOUT_SECONDS = 60.0
_CONF = """\
ClusterName=scalegan
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue_seconds}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdTimeout={slurmd_timeout}
KillWait={kill_wait}
InactiveLimit=0
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
NodeName=node[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs={cpus} \
RealMemory={memory}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE OverSubscribe=EXCLUSIVE MaxTime=INFINITE
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF OverSubscribe=EXCLUSIVE MaxTime=INFINITE
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/local_slurm.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("--nodes", type=int, default=4, help="slurmd daemons to start (default 4)")
    parser.add_argument("--kill-wait", type=int, default=30, metavar="SECONDS",
                        help="time between SIGTERM and SIGKILL (default 30)")
    parser.add_argument("--slurmd-timeout", type=int, default=10, metavar="SECONDS",
                        help="time after which a silent node is marked down and its jobs are requeued (default 10)")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        raise UserError("tools/local_slurm.py needs root, as SLURM's daemons start processes for other users; run it "
                        "as root")
    if options.what == "down":
        down()
        return 0
    if options.nodes < 1:
        raise UserError(f"--nodes {options.nodes}: use 1 or more")
    up(options.nodes, options.kill_wait, options.slurmd_timeout)
    print(f"SLURM is up: {options.nodes} nodes, partitions low and high; its folder is {FOLDER}")
    print(f"export SLURM_CONF={FOLDER}/slurm.conf   # where {_LINK} is another cluster's")
    return 0


def up(nodes: int, kill_wait: int = 30, slurmd_timeout: int = 10) -> None:
    """Starts the cluster, after stopping any that is running, and returns when all nodes are idle.

    Raises:
        UserError: if SLURM is not installed and cannot be installed, or a daemon does not start.
    """
    _install()
    down()
    for name in ("state", "spool", "log"):
        (FOLDER / name).mkdir(parents=True)
    FOLDER.chmod(0o755)
    _conf_file().write_text(_conf(nodes, kill_wait, slurmd_timeout))
    (FOLDER / "cgroup.conf").write_text("CgroupMountpoint=/sys/fs/cgroup\n")
    if not _LINK.exists() and not _LINK.is_symlink():
        _LINK.parent.mkdir(exist_ok=True)
        _LINK.symlink_to(_conf_file())
    _name_hosts(nodes)
    _start_munge()
    _start("slurmctld", "slurmctld", "-f", str(_conf_file()))
    for number in range(1, nodes + 1):
        start_node(number)
    _wait(lambda: _idle_nodes() == nodes, f"{nodes} nodes are idle")


def start_node(number: int) -> None:
    """Starts one slurmd, also after it was killed."""
    _start(f"node{number}", "slurmd", "-N", f"node{number}", "-f", str(_conf_file()))


def kill_slurmd(number: int) -> None:
    """Sends SIGKILL to the slurmd alone; its steps and their tasks keep running."""
    os.kill(int((FOLDER / f"node{number}.pid").read_text()), signal.SIGKILL)


def kill_node(number: int) -> None:
    """Simulates a power failure: SIGKILL to the slurmd, its steps and their tasks."""
    for pid in processes(f"node{number}"):
        os.kill(pid, signal.SIGKILL)


def down() -> None:
    """Cancels all jobs, ends all daemons and the processes they started, and removes all files."""
    if FOLDER.exists():
        if _conf_file().exists():
            _cancel_all()
        _end(processes())
        if _LINK.is_symlink() and _LINK.readlink() == _conf_file():
            _LINK.unlink()
        shutil.rmtree(FOLDER)
    _name_hosts(0)


def environment() -> dict[str, str]:
    """This process's environment, with SLURM's programs pointed at this cluster."""
    return {**os.environ, "SLURM_CONF": str(_conf_file())}


def _install() -> None:
    if all(shutil.which(program, path=search_path()) for program in _PROGRAMS):
        return
    if not shutil.which("apt-get"):
        raise UserError("SLURM is not installed; install slurmctld, slurmd, munged, sbatch and srun")
    print("installing slurm-wlm and munge", flush=True)
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "slurm-wlm", "munge"]):
        if subprocess.run(["apt-get", *command], **quiet).returncode:
            raise UserError("apt-get could not install slurm-wlm and munge; install them by hand")


def _conf_file() -> Path:
    return FOLDER / "slurm.conf"


def _conf(nodes: int, kill_wait: int, slurmd_timeout: int) -> str:
    ports = _free_ports(nodes + 1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return _CONF.format(
        host=socket.gethostname(), folder=FOLDER, port=ports[0], first_port=ports[1], last_port=ports[-1], nodes=nodes,
        cpus=max(8, os.cpu_count() or 1), memory=memory, kill_wait=kill_wait, slurmd_timeout=slurmd_timeout,
        requeue_seconds=10)  # a requeued job waits until its credential expires, by default two minutes


def _free_ports(count: int) -> range:
    """`count` consecutive free ports, below the kernel's ephemeral range."""
    for first in range(17001, 30000, count):
        ports = range(first, first + count)
        if all(_is_free(port) for port in ports):
            return ports
    raise UserError(f"found no {count} consecutive free ports from 17001 to 30000; use fewer --nodes")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _name_hosts(nodes: int) -> None:
    """Makes node1, node2, ... host names of this machine, as on a cluster; 0 removes them."""
    lines = [line for line in _HOSTS.read_text().splitlines() if not line.endswith(_MARK)]
    lines += [f"127.0.0.1 node{number} {_MARK}" for number in range(1, nodes + 1)]
    text = "\n".join(lines) + "\n"
    if text != _HOSTS.read_text():
        _HOSTS.write_text(text)


def _start_munge() -> None:
    key = FOLDER / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    _start("munged", "munged", "--force", f"--socket={FOLDER}/munge.socket", f"--key-file={key}",
           f"--pid-file={FOLDER}/munged.pid", f"--log-file={FOLDER}/log/munged.log", f"--seed-file={FOLDER}/munge.seed",
           "--num-threads=4")


def _start(name: str, *command: str) -> None:
    """Starts a daemon; returns once it is in the background."""
    marked = {**environment(), "PATH": search_path(), _VARIABLE: f"{FOLDER}/{name}"}
    output = FOLDER / "log" / "start.log"
    with output.open("a") as log:
        code = subprocess.run(command, env=marked, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              cwd=FOLDER).returncode
    if code:
        raise UserError(f"{command[0]} did not start (exit code {code}); see {FOLDER / 'log'}: "
                        f"{output.read_text().strip().splitlines()[-1:]}")


def search_path() -> str:
    """PATH with Debian's folders for the daemons, which are not in every user's PATH."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _idle_nodes() -> int:
    states = subprocess.run(["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"], env=environment(),
                            capture_output=True, text=True)
    return states.stdout.split().count("idle")


def _cancel_all() -> None:
    subprocess.run(["scancel", "--user=root"], env=environment(), capture_output=True, timeout=30)
    with contextlib.suppress(UserError):  # `down` kills any that remain
        _wait(lambda: not any(_is_step(pid) for pid in processes()), "jobs are gone", 5)


def processes(daemon: str = "") -> set[int]:
    """Pids of a daemon (`node2`; by default, of all) and of all it started: its steps and their tasks, from /proc."""
    parents: dict[int, int] = {}
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(value.startswith(f"{_VARIABLE}={FOLDER}/{daemon}".encode()) for value in variables):
                found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _is_step(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("slurmstepd")
    return False


def _end(pids: set[int]) -> None:
    for number, timeout in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        alive = [pid for pid in pids if _is_alive(pid)]
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + timeout
        while any(map(_is_alive, alive)) and time.monotonic() < until:
            time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait(holds: Callable[[], bool], what: str, timeout: float = _TIMEOUT_SECONDS) -> None:
    until = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > until:
            raise UserError(f"gave up waiting until {what}; see {FOLDER / 'log'}")
        time.sleep(0.1)
