"""What happens when clients, actors, processes and files fail: the run goes on, or says why not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from fedlab.engine import local_grid
from fedlab.engine.ray import cluster
from fedlab.errors import InputError, RunError
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import ResourcesSpec, Scenario
from fedlab.simulation import resume, simulate
from helpers import failing, toy
from helpers.clock import Clock
from helpers.gated import Gates
from helpers.processes import PATIENCE, descendants, end, parent, wait_until
from helpers.running import At, Failures, on, result, trained

HERE = Path(__file__).parent


def with_half(name: str, backend: str = "ray", **changes) -> Scenario:
    """The toy scenario with one of the client trainers that misbehave."""
    strategy = {"name": "fedavg", "client": f"helpers.failing:{name}"}
    return toy.scenario(strategy=strategy, resources=on(backend), **changes)


# ---------------------------------------------------------------------- clients and actors


def test_a_slow_client_is_dropped_counted_and_named_and_the_rounds_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(local_grid, "time", clock)
    monkeypatch.setattr(failing.SlowOnce, "wait", lambda client: clock.sleep(6.0))
    participation = {"timeout": 4.0, "max_failed_share": 0.4}
    slow = with_half("SlowOnce", "local", participation=participation)
    goes_on_without_client_2(slow, tmp_path / "run")


@pytest.mark.slow  # a minute, in which the others' actors have to be done however busy the machine
def test_a_slow_client_is_dropped_and_its_actor_used_again(
    tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "held.py").write_text(  # waits in actors alone: here, the method is only tried
        "import os, time; from pathlib import Path; from helpers.failing import SlowOnce\n"
        "class Held(SlowOnce):\n"
        "    def wait(self):\n"
        f"        while os.getpid() != {os.getpid()} and not Path({str(gate)!r}).exists():\n"
        "            time.sleep(0.02)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    slow = toy.scenario(
        strategy={"name": "fedavg", "client": "held:Held"},
        participation={"timeout": 60.0, "max_failed_share": 0.4},
        resources=on("ray"),
    )
    goes_on_without_client_2(slow, tmp_path / "run", At(1, gate.touch))


def goes_on_without_client_2(slow: Scenario, folder: Path, *callbacks: At) -> None:
    """A run in which client 2 misses the first round's deadline, and takes part in the second."""
    failures = Failures()
    run = simulate(slow, out=folder, callbacks=[failures, *callbacks])
    assert run.finished
    assert failures.rounds[1] == {"client 2": "client 2: not finished before the deadline"}
    assert trained(run, 1) == [0, 1]
    assert failures.rounds[2] == {}
    assert trained(run, 2) == [0, 1, 2]
    assert run.history[run.history.metric == "failed"].value.tolist() == [1.0, 0.0]


@pytest.mark.slow
def test_a_client_that_kills_its_actor_twice_stops_the_run_and_is_named(
    tmp_path: Path, ray_here: None
) -> None:
    chosen = with_half("Dies").model_copy(update={"resources": ResourcesSpec(actors=1)})
    with pytest.raises(RunError, match=r"1 of 3 clients failed.*client 2: its actor died 2 times"):
        simulate(chosen, out=tmp_path / "run")


@pytest.mark.slow
def test_a_client_that_kills_its_actor_takes_no_other_along(tmp_path: Path, ray_here: None) -> None:
    numbers = {"d0": 12, "d1": 11, "d2": 1}  # several clients go to an actor at once
    failures = Failures()
    run = simulate(
        with_half(
            "Dies",
            rounds=1,
            partition={
                "clients": 24,
                "domains": {"name": "one_per_client", "clients_per_domain": numbers},
            },
            participation={"max_failed_share": 0.05},
        ),
        out=tmp_path / "run",
        callbacks=[failures],
    )
    assert list(failures.rounds[1]) == ["client 23"]
    assert trained(run, 1) == list(range(23))


@pytest.mark.slow
def test_a_local_half_that_actors_cannot_import_stops_the_run_before_it_has_a_folder(
    tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shy.py").write_text(
        f"import os\nif os.getpid() != {os.getpid()}: raise ImportError('only here')\n"
        "from fedlab.clients.fedavg import FedAvg as Half\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    strategy = {"name": "fedavg", "client": "shy:Half"}
    one = {"backend": "ray", "actors": 1}
    with pytest.raises(RunError, match=r"a Ray actor could not start.*(?s:.*)shy:Half.*only here"):
        simulate(toy.scenario(strategy=strategy, resources=one), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_error_has_the_reason_of_many_clients_once_and_counts_the_rest(tmp_path: Path) -> None:
    chosen = with_half("FailsOnOne", "local", partition={"clients": 18})
    with pytest.raises(RunError, match="round 1: 6 of 18 clients failed") as failed:
        simulate(chosen, out=tmp_path / "run")
    assert str(failed.value).count("Traceback") == 1
    assert str(failed.value).endswith("; and 5 more")


# ---------------------------------------------------------------------- Ray itself


def test_a_ray_that_was_there_before_stays(ray_here: None) -> None:
    reference = ray.put("still here")
    hardware, disconnect = cluster.connect(None)
    disconnect()
    assert hardware.cpus == 2
    assert ray.get(reference) == "still here"


def test_a_cluster_that_does_not_answer_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray would wait for minutes"))
    chosen = toy.scenario(resources={"address": "127.0.0.1:1"})
    with pytest.raises(InputError, match=r"resources\.address.*'127\.0\.0\.1:1'.*ray start"):
        simulate(chosen, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_error_of_a_machine_too_busy_for_ray_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RunError, match=r"cannot start .*timed out.*resources\.backend=local"):
        simulate(toy.scenario(resources={}), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_machines_of_a_cluster_map_shared_files_and_give_the_same_bytes(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("train", 60), ("test", 20)):
        images = generator.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
        np.save(tmp_path / f"x_{name}.npy", images)
        np.save(tmp_path / f"y_{name}.npy", np.arange(count) % 4)
    files = {key: f"{key}.npy" for key in ("x_train", "y_train", "x_test", "y_test")}
    data = {
        "sources": [{"name": "npy", "domain": "all", **files}],
        "root": str(tmp_path),
        "image_size": 8,
    }
    (tmp_path / "machines.py").write_text(
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from ray.cluster_utils import Cluster\n"
        "import ray\n"
        "from helpers import toy\n"
        "from fedlab.data import mapped\n"
        "from fedlab.engine.start import start_grid\n"
        "from fedlab.simulation import prepare, simulate\n"
        "from helpers.processes import parent\n"
        "mapped.SMALLEST = 1\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})\n"
        "for _ in range(3):\n"
        "    cluster.add_node(num_cpus=1)\n"
        "cluster.wait_for_nodes()\n"
        "resources = {'backend': 'ray', 'actors': 4, 'address': cluster.address}\n"
        f"chosen = toy.scenario(strategy='fedbn', data={data!r}, resources=resources)\n"
        "prepared = prepare(chosen)\n"
        "assert prepared.data.train.is_mapped\n"
        "grid, engine = start_grid(chosen, prepared.data, prepared.partition)\n"
        "with grid:\n"
        "    print(engine, len({parent(pid) for pid in grid.actor_pids}), 'machines')\n"
        "assert not ray.is_initialized()\n"
        "simulate(chosen, out='cluster')\n"
        "cluster.shutdown()\n"
    )
    done = subprocess.run(
        [sys.executable, "machines.py"], cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert "Ray, 4 actors with 1 CPU each 4 machines" in done.stdout
    simulate(toy.scenario(strategy="fedbn", data=data), out=tmp_path / "local")
    assert result(tmp_path / "cluster") == result(tmp_path / "local")


# ---------------------------------------------------------------------- files


def interrupted(folder: Path) -> Path:
    """A run of four rounds, stopped after the third, with checkpoints of rounds 2 and 3."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(toy.scenario(strategy="fedbn", rounds=4), out=folder, callbacks=[At(3, interrupt)])
    return folder


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


@pytest.mark.slow_except("round-000003/server.safetensors")
@pytest.mark.parametrize(
    "damaged",
    [
        "round-000003/server.safetensors",
        "round-000003/checkpoint.json",
        "clients/000001-r000003.safetensors",
    ],
)
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulate(toy.scenario(strategy="fedbn", rounds=4), out=tmp_path / "whole")
    cut = interrupted(tmp_path / "cut")
    truncate(cut / "checkpoints" / damaged)
    assert resume(cut).finished
    assert "round-000003 cannot be read" in caplog.text
    assert result(cut) == result(tmp_path / "whole")


def test_a_run_without_a_whole_checkpoint_is_refused(tmp_path: Path) -> None:
    cut = interrupted(tmp_path / "cut")
    for file in (cut / "checkpoints").glob("round-*/server.safetensors"):
        truncate(file)
    with pytest.raises(RunError, match=r"no checkpoint can be read \(round-000003: .*delete"):
        resume(cut)


@pytest.mark.slow
def test_a_run_that_another_process_writes_is_refused_until_that_has_ended(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", toy.scenario(rounds=1)).path
    program = (
        "import sys; from fedlab.runs.run_folder import RunFolder\n"
        "with RunFolder.open(sys.argv[1]): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"written by another process \(id {other.pid}\)"):
            resume(folder)
        with pytest.raises(InputError, match="holds a run that has not finished"):
            simulate(toy.scenario(), out=folder)
        other.kill()
    assert resume(folder).finished


# ---------------------------------------------------------------------- the whole program

TEXT = """\
name: striped
rounds: 4
data: {sources: ["stripes:Stripes"], image_size: 8}
partition: {clients: 3}
model: small_cnn
strategy: {name: fedbn, client: "gated:Gated"}
training: {batch_size: 16, optimizer: {lr: 0.05}}
resources: {actors: 1}
"""
Command = Callable[..., subprocess.Popen[str]]


def hear_interrupts() -> None:
    """Ctrl-C reaches a command, even where the tests run in the background and ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """Starts the console script in a folder with a scenario and the modules that it names."""
    (tmp_path / "striped.yaml").write_text(TEXT)
    gates = Gates(tmp_path)
    gates.install()
    gates.open(*range(3))
    shutil.copy(HERE / "helpers" / "toy.py", tmp_path / "stripes.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started: list[subprocess.Popen[str]] = []
    below: set[int] = set()

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "fedlab"), *words],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            below |= descendants(process.pid)
            process.kill()
        process.communicate()
    end(below)


def in_round_three(process: subprocess.Popen[str], folder: Path) -> set[int]:
    """Waits until a client trains in the third round; gives the processes of the run."""
    gates = Gates(folder)
    assert wait_until(lambda: gates.anyone_at(3) or process.poll() is not None, PATIENCE)
    assert process.poll() is None
    return descendants(process.pid)


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bytes(
    command: Command, tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = command("simulate", "striped.yaml", "--out", "cut")
    below = in_round_three(killed, tmp_path)
    killed.kill()
    killed.wait()
    left = not wait_until(lambda: not any(map(parent, below)), PATIENCE)
    end({pid for pid in below if parent(pid)})
    assert not left, "Ray ends with the process that started it, even by SIGKILL"
    assert not (tmp_path / "cut" / "finished.json").exists()
    assert (tmp_path / "cut/checkpoints/round-000002").exists()
    monkeypatch.syspath_prepend(str(tmp_path))
    Gates(tmp_path).open()
    resume(tmp_path / "cut", progress=False)
    quick = {"strategy": "fedbn", "resources": {"backend": "local"}}
    simulate(tmp_path / "striped.yaml", quick, out=tmp_path / "whole", progress=False)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["process", "group"])  # `kill`, and Ctrl-C in a terminal
def test_ctrl_c_leaves_no_process_and_says_how_to_go_on(
    whom: str, command: Command, tmp_path: Path
) -> None:
    stopped = command("simulate", "striped.yaml", "--out", "cut")
    below = in_round_three(stopped, tmp_path)
    assert below
    (os.kill if whom == "process" else os.killpg)(stopped.pid, signal.SIGINT)
    _, err = stopped.communicate(timeout=PATIENCE)
    left = not wait_until(lambda: not any(map(parent, below)), PATIENCE)
    end({pid for pid in below if parent(pid)})
    assert stopped.returncode == 130
    assert err == "stopped; go on with: fedlab resume cut\n"
    assert not left
