"""Interrupts, progress, warnings, threads, forks and mistakes."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_VAE, Command, images, model

import waxwork as ww
from waxwork import _native


def test_an_interrupt_leaves_a_checkpoint_that_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, values: object) -> None:
        if stage == "training" and done >= 5:
            os.kill(os.getpid(), signal.SIGINT)

    # Long enough that it is not over before the interrupt arrives on a busy machine.
    steps, out = 1500, tmp_path / "run"
    whole = ww.train("vae-digits", steps=steps, set=SMALL_VAE, out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt, match="resume"):
        ww.train("vae-digits", steps=steps, set=SMALL_VAE, out=out, progress=interrupt)
    assert list((out / "checkpoints").iterdir()) and not (out / "model.safetensors").exists()
    with pytest.warns(ww.WaxworkWarning, match="not finished: using its checkpoint at step"):
        unfinished = ww.load(out)
    assert not unfinished.finished and 5 <= unfinished.steps < steps and "not finished" in repr(unfinished)
    resumed = ww.resume(out, progress=False)
    assert model(resumed) == model(whole) and resumed.finished
    assert ww.resume(out, progress=False).steps == steps


def test_a_run_of_data_in_memory_resumes_with_the_same_data_only(tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int, values: object) -> None:
        if stage == "training" and done >= 3:
            raise InterruptedError("enough")

    settings = {**SMALL_VAE, "train.batch_size": 8}
    whole = ww.train("vae-digits", images(60), steps=1500, set=settings, out=tmp_path / "whole", progress=False)
    with pytest.raises(InterruptedError, match="enough"):
        ww.train("vae-digits", images(60), steps=1500, set=settings, out=tmp_path / "part", progress=stop)
    with pytest.raises(ww.DataError, match="memory"):
        ww.resume(tmp_path / "part", progress=False)
    with pytest.raises(ww.RunError, match="started with different settings: .*identity"):
        ww.resume(tmp_path / "part", images(60, seed=1), progress=False)
    assert model(ww.resume(tmp_path / "part", images(60), progress=False)) == model(whole)


def test_a_long_call_can_be_interrupted(vae: ww.Run) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        vae.sample(3_000_000, progress=False)
    timer.join()


def test_a_metric_can_be_interrupted() -> None:
    features = np.random.default_rng(0).normal(size=(500, 16))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        # Without the interrupt, this takes days.
        ww.metrics.kernel(features, features, subsets=10**9, size=500)
    timer.join()


def test_a_report_tells_its_progress(vae: ww.Run, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    vae.report(tmp_path / "page.html", progress=lambda *told: heard.append(told[:3]))
    parts = [done for stage, done, _ in heard if stage == "drawing the page"]
    assert parts == sorted(parts) and heard[-1] == ("drawing the page", 7, 7)


def test_progress_reaches_a_function_and_tqdm(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    heard: list[tuple[str, int, int, dict[str, float]]] = []

    def listen(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        heard.append((stage, done, total, dict(values)))

    run = ww.train("vae-digits", steps=20, set=SMALL_VAE, out=tmp_path / "run", progress=listen)
    steps = [done for stage, done, _, _ in heard if stage == "training"]
    assert steps == sorted(steps) and steps[-1] == 20
    assert {total for stage, _, total, _ in heard if stage == "training"} == {20}
    assert any("loss" in values for _, _, _, values in heard)
    heard.clear()
    run.sample(250, progress=listen)
    assert heard[-1][:3] == ("sampling", 250, 250)
    capsys.readouterr()
    pytest.importorskip("tqdm")
    run.sample(10, progress=True)
    # The work is over before the bar would appear.
    assert capsys.readouterr().err == ""


def test_a_progress_function_that_raises_stops_the_work(vae: ww.Run) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        vae.sample(5000, progress=fail)


def test_warnings_are_warnings(tmp_path: Path) -> None:
    settings = {**SMALL_VAE, "optimizer.warmup_steps": 100}
    words = "`optimizer.warmup_steps` is 100, but the run has only 2 steps"
    with pytest.warns(ww.WaxworkWarning, match=words) as told:
        ww.train("vae-digits", steps=2, set=settings, out=tmp_path / "run", progress=False)
    assert told[0].filename == __file__


def test_warnings_belong_to_the_call(vae: ww.Run, tmp_path: Path) -> None:
    settings = {**SMALL_VAE, "optimizer.warmup_steps": 100}
    heard: list[int] = []
    over = threading.Event()

    def sample_on() -> None:
        while not over.is_set():
            vae.sample(500, progress=lambda *_: None)

    other = threading.Thread(target=sample_on)
    with warnings.catch_warnings():
        warnings.simplefilter("always", ww.WaxworkWarning)
        warnings.showwarning = lambda *_: heard.append(threading.get_ident())
        other.start()
        try:
            for number in range(5):
                ww.train("vae-digits", steps=2, set=settings, out=tmp_path / str(number), progress=False)
        finally:
            over.set()
            other.join()
    assert len(heard) >= 5 and set(heard) == {threading.get_ident()}


def test_other_threads_run_meanwhile(vae: ww.Run) -> None:
    turns = 0
    done = threading.Event()

    def count() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    started = time.perf_counter()
    vae.sample(30_000, progress=False, threads=1)
    took, here = time.perf_counter() - started, turns
    done.set()
    counter.join()
    # With the lock held, the thread would have had no turn.
    assert here > 20 * took


def test_two_threads_may_compute_at_once(vae: ww.Run, ring: ww.Run) -> None:
    alone = [vae.sample(500).tobytes(), ring.sample(500).tobytes()]
    found: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda place=place, run=run: found.update({place: run.sample(500).tobytes()}))
        for place, run in enumerate((vae, ring))
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [found[0], found[1]] == alone


def test_a_call_does_not_wait_for_another_with_as_many_threads(vae: ww.Run, ring: ww.Run) -> None:
    ended: list[str] = []
    began, over = threading.Event(), threading.Event()
    late = time.monotonic() + 30

    def listen(*_: object) -> None:
        began.set()
        if over.is_set() or time.monotonic() > late:
            raise InterruptedError

    def sample_long() -> None:
        try:
            ring.sample(10**9, threads=1, progress=listen)
        except InterruptedError:
            ended.append("long")

    other = threading.Thread(target=sample_long)
    other.start()
    assert began.wait(60)
    vae.sample(10, threads=1, progress=False)
    ended.append("short")
    over.set()
    other.join()
    assert ended == ["short", "long"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no list of this process's threads")
def test_only_the_threads_of_one_call_wait_for_the_next(vae: ww.Run) -> None:
    def running() -> int:
        return len(os.listdir("/proc/self/task"))

    vae.sample(10, threads=1, progress=False)
    few = running()
    for threads in (2, 3, 4, 1):
        vae.sample(10, threads=threads, progress=False)
    # Threads end shortly after the request.
    late = time.monotonic() + 30
    while running() > few and time.monotonic() < late:
        time.sleep(0.05)
    assert running() <= few


FORK = """
    import os, sys, threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import waxwork as ww
    run = ww.load(sys.argv[1])
    expected = run.sample(50).tobytes()

    def child(work):
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(0 if work() else 3)
            except BaseException as error:
                print(type(error).__name__, error, file=sys.stderr)
                os._exit(4)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert child(lambda: run.sample(50).tobytes() == expected) == 0

    def refused():
        try:
            run.sample(1)
        except ww.ForkError as error:
            return "forked while" in str(error)

    began, end = threading.Event(), threading.Event()

    def progress(*_):
        began.set()
        end.wait(60)

    busy = threading.Thread(target=run.sample, args=(200,), kwargs={"progress": progress})
    busy.start()
    began.wait(60)
    assert child(refused) == 0
    end.set()
    busy.join()
    assert child(lambda: run.sample(50).tobytes() == expected) == 0
    assert run.sample(50).tobytes() == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_computes_or_says_why_not(vae: ww.Run) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK), vae.path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_import_brings_no_other_library() -> None:
    script = "import sys, waxwork; print([m for m in ('pandas', 'tqdm', 'torch', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_carries_the_command(vae: ww.Run, command: Command, tmp_path: Path) -> None:
    def carried(*words: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "waxwork", *(str(word) for word in words)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    assert carried("--version").stdout == f"waxwork {ww.__version__}\n"
    done = carried("sample", vae.path, "-n", 20, "--out", tmp_path / "a.npy")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "a.npy").tobytes() == vae.sample(20).tobytes()
    assert carried("sample", vae.path, "--no-such-option").returncode == 2
    assert carried("sample", tmp_path / "none").stderr.startswith("error: ")


@pytest.mark.parametrize("computing", [False, True])
@pytest.mark.skipif(not hasattr(_native, "fail"), reason="a release has no function that panics")
def test_a_panic_is_an_exception_of_the_package(computing: bool, capfd: pytest.CaptureFixture[str]) -> None:
    words = r"^internal error: not a \+ b; please report it at https://\S+/issues$"
    with pytest.raises(ww.InternalError, match=words) as raised:
        _native.fail("not a +\n  b", computing)
    assert isinstance(raised.value, ww.WaxworkError) and isinstance(raised.value, RuntimeError)
    # Standard error has the place.
    assert "panicked at" in capfd.readouterr().err
    # The threads are there for the next call.
    assert ww.metrics.frechet(np.eye(3), np.eye(3)) == pytest.approx(0, abs=1e-9)


def test_a_run_stays_the_same_in_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    trained = ww.train("vae-digits", steps=2, set=SMALL_VAE, out="runs/mine", progress=False)
    runs = [trained, ww.load("runs/mine"), ww.resume("runs/mine", progress=False)]
    monkeypatch.chdir(elsewhere)
    for run in runs:
        assert os.path.isabs(run.path) and os.path.samefile(run.path, tmp_path / "runs/mine")
        assert os.path.samefile(run.export_onnx(), tmp_path / "runs/mine/decoder.onnx")
    trained.evaluate(samples=0, count=20, progress=False)
    assert (tmp_path / "runs/mine/metrics.json").is_file() and not list(elsewhere.iterdir())


def test_a_run_is_not_pickled(vae: ww.Run) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(vae)


GREY = np.zeros((20, 8, 8), dtype=np.uint8)
HALVES = np.full((20, 8, 8), 0.5)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((20, 8, 8, 5), dtype=np.uint8), r"data must be .*\(N, H, W\).* but its shape is \[20, 8, 8, 5\]"),
        (np.zeros(20), "but its shape is"),
        (np.zeros((0, 8, 8)), "images: there are none"),
        (np.zeros((20, 8, 8), dtype=np.int32), "save values of eight bits as uint8"),
        (np.zeros((20, 8, 8), dtype=complex), "arrays of complex128 are not supported"),
        (np.array([["a", "b"]]), "are not supported; use numbers or booleans"),
        (np.array([object()] * 4), "arrays of object are not supported"),
        ([[1, 2], [3]], "images: not an array"),
        (HALVES * 510, "if 255 is full intensity, divide by 255 or save them as uint8"),
        (HALVES * 2 - 2, r"if -1 is black|if −1 is black"),
        (np.where(np.arange(20)[:, None, None] == 3, np.nan, HALVES), "NaN"),
        (np.where(np.arange(20)[:, None, None] == 3, np.inf, HALVES), "inf"),
        (np.ones((20, 8, 8), dtype=np.uint8), "8-bit values are all 0 or 1"),
        ((GREY, [0] * 19), "19 labels for 20 "),
        ((GREY, [0] * 19 + [-1]), "image 19 has the label -1"),
        ((GREY, [0.5] * 20), "image 0 has the label 0.5"),
        ((GREY, [float("nan")] * 20), "image 0 has the label NaN"),
        ((GREY, [None] * 20), "label 0 is None"),
        ((GREY, np.ones((20, 3))), "not one-hot"),
        ((GREY, [0] * 20, 1), "a tuple of 3 is not data"),
        (GREY[:1], "1 images were given, but training and testing need at least two"),
        ("digit", "digit"),
        (Path("no/such/folder"), "is not a folder, nor a file"),
    ],
)
def test_data_that_does_not_fit_is_an_error_of_one_line(data: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ww.DataError, match=words) as raised:
        ww.train("vae-digits", data, steps=2, set=SMALL_VAE, out=tmp_path / "run", progress=False)
    assert len(str(raised.value).splitlines()) == 1 and isinstance(raised.value, ValueError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"recipe": "vae-digit"}, ww.RecipeError, "did you mean `vae-digits`"),
        ({"recipe": "vae-digits", "set": {"train.batchsize": 3}}, ww.RecipeError, "did you mean `batch_size`"),
        ({"recipe": "vae-digits", "set": ["train.steps"]}, ww.RecipeError, "key=value"),
        ({"recipe": "vae-digits", "steps": -1}, ww.RecipeError, "not negative"),
        ({"recipe": {"model": {}}}, ww.RecipeError, "the given keys"),
        ({"recipe": 3}, ww.RecipeError, "is not a name"),
        ({"recipe": "vae-digits", "device": "gpu"}, ww.WaxworkError, "choose one of cpu"),
        ({"recipe": "vae-digits", "threads": 0}, ww.RecipeError, "threads must be at least 1"),
        ({"recipe": "vae-digits", "label": "income"}, ww.DataError, "invalid `data.table`"),
        ({"recipe": "vae-digits", "data": GREY, "label": "income"}, ww.DataError, "`data` holds arrays"),
        ({"recipe": "vae-digits", "data": "digits", "test": GREY}, ww.DataError, "for data in memory"),
        ({"recipe": "vae-digits", "data": GREY, "data_dir": "x"}, ww.DataError, "`data` is in memory"),
        ({"recipe": "cvae-digits", "data": GREY}, ww.DataError, "class"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(
    arguments: dict[str, object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        ww.train(**{"out": tmp_path / "run", "progress": False, **arguments})  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_requests_that_do_not_fit_are_errors(vae: ww.Run, cgan: ww.Run, cvae: ww.Run) -> None:
    grey = np.zeros((2, 28, 28), dtype=np.uint8)
    for call, error, words in [
        (lambda: vae.sample(2, labels=1), ww.DataError, "takes no labels"),
        (lambda: cgan.sample(3, labels=[1, 2]), ww.DataError, "2 labels for 3 samples"),
        (lambda: cgan.sample(1, labels=10), ww.DataError, "there is no class `10`"),
        (lambda: cgan.sample(1, labels=[1.5]), ww.DataError, "label 0 is 1.5"),
        (lambda: cgan.sample(0), ww.DataError, "at least one"),
        (lambda: cgan.sample(1, seed=-1), ww.DataError, "the seed is -1"),
        (lambda: cgan.sample(1, where={"a": "b"}), ww.DataError, "for models of tables"),
        (lambda: cgan.encode(grey), ww.ModelError, "cgan models have no encoder"),
        (lambda: vae.encode(grey[:, :5]), ww.DataError, "images must be"),
        (lambda: cvae.encode(grey), ww.DataError, "labels"),
        (lambda: cvae.encode(grey, [1]), ww.DataError, "1 labels for 2 images"),
        (lambda: vae.encode(["text"]), ww.DataError, "not texts"),
        (lambda: vae.decode(np.zeros((2, 5))), ww.DataError, r"latents must be \(N, 3\)"),
        (lambda: vae.decode(np.full((2, 3), np.nan)), ww.DataError, "NaN"),
        (lambda: vae.interpolate(1, 1), ww.DataError, "steps is 1: it must be at least 2"),
        (lambda: cgan.interpolate(1, labels=[1, 2, 3]), ww.DataError, "two to interpolate"),
        (lambda: vae.traverse([3]), ww.DataError, "there is no latent dimension 3"),
        (lambda: vae.traverse([-1]), ww.DataError, "there is no latent dimension -1"),
        (lambda: cgan.evaluate(samples=0), ww.ModelError, "nothing to measure"),
        (lambda: vae.export_onnx(part="head"), ww.ModelError, "there is no part `head`"),
        (lambda: vae.export_onnx("no/such/folder/x.onnx"), ww.FileError, "no/such/folder"),
    ]:
        with pytest.raises(error, match=words) as raised:
            call()
        assert len(str(raised.value).splitlines()) == 1


def test_folders_that_are_no_runs(vae: ww.Run, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    for path in [tmp_path, tmp_path / "none", Path(__file__)]:
        with pytest.raises(ww.RunError):
            ww.load(path)
    with pytest.raises(ww.RunError, match="already exists"):
        ww.train("vae-digits", out=vae.path, progress=False)


def test_errors_have_the_words_of_the_command(vae: ww.Run, cgan: ww.Run, command: Command, tmp_path: Path) -> None:
    for call, words in [
        (lambda: ww.load(tmp_path / "none"), ["sample", tmp_path / "none"]),
        (lambda: cgan.sample(1, labels=12), ["sample", cgan.path, "--labels", 12]),
        (lambda: vae.sample(1, labels=1), ["sample", vae.path, "--labels", 1]),
        (lambda: cgan.encode(np.zeros((1, 28, 28))), ["encode", cgan.path, "--out", tmp_path / "x.npy"]),
        (lambda: ww.train("vae-digitz", out=tmp_path / "x"), ["train", "vae-digitz", "--out", tmp_path / "x"]),
        (
            lambda: ww.train("vae-digits", set=["train.stepz=3"], out=tmp_path / "x"),
            ["train", "vae-digits", "--set", "train.stepz=3", "--out", tmp_path / "x"],
        ),
    ]:
        with pytest.raises(ww.WaxworkError) as raised:
            call()
        # The command adds what to do on the command line.
        assert command.fails(*words).startswith(str(raised.value))
