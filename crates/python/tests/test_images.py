"""Images, points and texts: training, samples, latents, metrics and files, compared with the command."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, SMALL_VAE, Command, images, model, write_png

import waxwork as ww
from waxwork import _arrays


def written(command: Command, folder: Path, *arguments: object) -> np.ndarray:
    """The array that a command writes."""
    out = folder / "command.npy"
    command(*arguments, "--out", out)
    return np.load(out)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "?", "<f4", "<f8", "<i4", "<i8", "<u4"])
def test_arrays_go_in_as_numpy_writes_them(dtype: str) -> None:
    array = (np.arange(24) % 2).reshape(2, 3, 4).astype(dtype)
    for given in [array, array[:0], array[0, 0, 0], array.transpose(2, 0, 1), array[:, ::2]]:
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(given))
        assert _arrays.npy(given, "array") == file.getvalue()


def test_samples_are_the_bytes_of_the_command(
    vae: ww.Run, cgan: ww.Run, ring: ww.Run, command: Command, tmp_path: Path
) -> None:
    for run, shape in [(vae, (1, 28, 28)), (cgan, (1, 28, 28)), (ring, (2,))]:
        found = run.sample(130, seed=3)
        assert found.shape == (130, *shape)
        assert same(found, written(command, tmp_path, "sample", run.path, "-n", 130, "--seed", 3))
        assert same(found, run.sample(130, seed=3, threads=1))
        assert not same(found, run.sample(130, seed=4))
    sevens = cgan.sample(5, labels=7)
    assert same(sevens, written(command, tmp_path, "sample", cgan.path, "-n", 5, "--labels", 7))
    assert same(sevens, cgan.sample(labels=["7"] * 5))
    assert same(sevens, cgan.sample(5, labels=np.full(5, 7)))
    cut = vae.sample(9, truncation=0.5, temperature=0.7)
    options = ["--truncation", 0.5, "--temperature", 0.7]
    assert same(cut, written(command, tmp_path, "sample", vae.path, "-n", 9, *options))
    assert found.flags.writeable and found.flags.owndata is False


def test_texts_are_those_of_the_command(home: Path, command: Command, tmp_path: Path) -> None:
    settings = {**SMALL, "model.latent_dim": 2, "model.kl_warmup_steps": 0}
    run = ww.train("vae-phrases", steps=2, set=settings, out=home / "texts", progress=False)
    out = tmp_path / "texts.jsonl"
    command("sample", run.path, "-n", 7, "--out", out)
    assert run.sample(7) == [json.loads(line)["text"] for line in out.read_text().splitlines()]
    known = run.sample(3)
    assert run.encode(known).shape == (3, 2)
    assert len(run.reconstruct(known)) == 3
    assert "<pre>" in run._repr_html_()


@pytest.mark.filterwarnings("ignore:.*are fitted with:waxwork.WaxworkWarning")
def test_sounds_are_those_of_the_command(home: Path, command: Command, tmp_path: Path) -> None:
    settings = {"train.batch_size": 8, "data.limit": 40, "data.validation": 8, "optimizer.warmup_steps": 0}
    run = ww.train("vae-drums", steps=1, set=settings, out=home / "sounds", progress=False)
    found = run.sample(2)
    assert found.ndim == 2 and np.abs(found).max() <= 1
    assert same(found, written(command, tmp_path, "sample", run.path, "-n", 2))

    def stop(stage: str, *_: object) -> None:
        if stage == "drawing the page":
            raise InterruptedError("enough")

    # Pages with sounds take long enough that this one is not there before it is stopped.
    with pytest.raises(InterruptedError, match="enough"):
        run.report(tmp_path / "page.html", progress=stop)
    assert not (tmp_path / "page.html").exists()


def test_latents_are_those_of_the_command(cvae: ww.Run, vae: ww.Run, command: Command, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    file = tmp_path / "images.npy"
    np.save(file, grey)
    latents = vae.encode(grey)
    assert same(latents, written(command, tmp_path, "encode", vae.path, "--images", file))
    assert np.allclose(latents, vae.encode((grey / 255)[..., None]), atol=1e-5)
    np.save(tmp_path / "latents.npy", latents)
    decoded = vae.decode(latents)
    assert same(decoded, written(command, tmp_path, "decode", vae.path, tmp_path / "latents.npy"))
    assert same(vae.reconstruct(grey), decoded)

    labels = np.arange(12) % 10
    np.save(tmp_path / "images.labels.npy", labels)
    conditional = cvae.encode(grey, labels)
    assert same(conditional, written(command, tmp_path, "encode", cvae.path, "--images", file))
    assert same(cvae.reconstruct(grey, labels), cvae.decode(conditional, labels))


def test_completions_are_those_of_the_command(
    home: Path, vae: ww.Run, command: Command, tmp_path: Path
) -> None:
    run = ww.train("cvae-digits-holes", steps=2, set=SMALL_VAE, out=home / "holes", progress=False)
    grey = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    file, picture = tmp_path / "images.npy", tmp_path / "mask.png"
    np.save(file, grey)

    def told(*options: object) -> bytes:
        return written(command, tmp_path, "complete", run.path, file, "-n", 2, "--seed", 3, *options).tobytes()

    found = run.complete(grey, n=2, seed=3)
    assert found.shape == (3, 2, 1, 28, 28) and found.tobytes() == told()
    left = run.complete(grey, n=2, seed=3, given="left", threads=1)
    assert left.tobytes() == told("--given", "left")
    assert (left[:, :, 0, :, :14] == (grey.astype(np.float32) / 255)[:, None, :, :14]).all()
    box = run.complete(grey, n=2, seed=3, given="all-but-a-box")
    assert box.tobytes() == told("--given", "all-but-a-box")

    white = np.full((28, 28), 127, dtype=np.uint8)
    white[:14] = 128
    write_png(picture, white)
    masked = run.complete(grey, n=2, seed=3, mask=white)
    assert masked.tobytes() == told("--mask", picture)
    assert same(masked, run.complete(grey, n=2, seed=3, mask=white > 127))
    each = np.stack([white, white[::-1], white])
    of_each = run.complete(grey, n=2, seed=3, mask=each)
    assert same(of_each[0], masked[0]) and not same(of_each[1], masked[1])

    for options, words in [
        ({"given": "left", "mask": white}, "not both"),
        ({"given": "middle"}, "given: unknown variant `middle`, expected one of `lower-left`"),
        ({"mask": white[:14]}, "mask: .*14"),
        ({"mask": each[:2]}, "mask: 2 masks for 3 images"),
        ({"mask": np.zeros((28, 28), dtype=bool)}, "mask: .*marks nothing"),
        ({"n": 0}, "n is 0"),
    ]:
        with pytest.raises(ww.DataError, match=words):
            run.complete(grey, **options)
    with pytest.raises(ww.DataError, match="it completes images"):
        run.sample(3, labels=[0, 1, 2])
    with pytest.raises(ww.ModelError, match="does not complete images"):
        vae.complete(grey)


def test_walks_are_those_of_the_command(cgan: ww.Run, vae: ww.Run, command: Command, tmp_path: Path) -> None:
    way = cgan.interpolate(3, labels=[3, 8], seed=5)
    assert way.shape == (3, 10, 1, 28, 28)
    options = ["-n", 3, "--labels", "3,8", "--seed", 5]
    assert way.tobytes() == written(command, tmp_path, "interpolate", cgan.path, *options).tobytes()
    grid = vae.traverse([0, 2])
    assert grid.shape == (2, 10, 1, 28, 28)
    assert grid.tobytes() == written(command, tmp_path, "traverse", vae.path, "--dims", "0,2").tobytes()


@pytest.mark.parametrize("recipe", ["vae-digits", "cgan-digits-plain"])
def test_arrays_train_to_the_bytes_of_files_with_the_same_pixels(recipe: str, tmp_path: Path) -> None:
    # Ten is after two for a folder, and so is the label 10 of an array.
    labels = np.repeat([10, 2, 7], 20)
    pixels = images(60)
    order = np.argsort(labels, kind="stable")
    for place, index in enumerate(order):
        write_png(tmp_path / "folder" / str(labels[index]) / f"{place:03}.png", pixels[index])
    settings = {"train.batch_size": 8, "train.log_every": 1, "data.validation": 8}
    if recipe.startswith("vae"):
        settings |= {"model.network": {"kind": "mlp", "hidden": [8]}, "model.latent_dim": 2}
    else:
        network = {"kind": "mlp", "hidden": [8]}
        settings |= {"model.generator": network, "model.discriminator": network}
    given = (pixels[order], labels[order])
    of_arrays = ww.train(recipe, given, steps=12, set=settings, out=tmp_path / "a", progress=False)
    grey = {**settings, "data.folder.grey": True}
    of_files = ww.train(recipe, tmp_path / "folder", steps=12, set=grey, out=tmp_path / "b", progress=False)
    assert model(of_arrays) == model(of_files)
    lines = [(Path(run.path) / "metrics.jsonl").read_bytes() for run in (of_arrays, of_files)]
    assert lines[0] == lines[1]
    # Floats and booleans of the same images, and channels last, are the same images.
    unit = (pixels[order] / 255)[..., None]
    of_floats = ww.train(recipe, (unit, labels[order]), steps=12, set=settings, out=tmp_path / "c", progress=False)
    assert model(of_floats) == model(of_arrays)
    other = (pixels[order][::-1], labels[order])
    of_others = ww.train(recipe, other, steps=12, set=settings, out=tmp_path / "d", progress=False)
    assert model(of_others) != model(of_arrays)
    assert of_arrays.recipe["data"]["name"] == "memory"
    if recipe.startswith("cgan"):
        assert of_arrays.classes == of_files.classes == ["2", "7", "10"]
        assert same(of_arrays.sample(4, labels=10), of_files.sample(4, labels="10"))


def test_a_test_part_and_names_of_classes(tmp_path: Path) -> None:
    settings = {**SMALL_VAE, "train.batch_size": 8, "data.validation": 8}
    train, test = (images(40), [0, 1] * 20), (images(9, 1), [1] * 9)
    run = ww.train(
        "cvae-digits",
        train,
        test=test,
        classes=["cat", "dog"],
        steps=2,
        set=settings,
        out=tmp_path / "run",
        progress=False,
    )
    assert run.classes == ["cat", "dog"]
    assert same(run.sample(3, labels="dog"), run.sample(3, labels=[1, "1", "DOG"]))
    sizes = json.loads((Path(run.path) / "run.json").read_text())["data_images"]
    assert sizes["test"] == 9 and sum(sizes.values()) == 49
    with pytest.raises(ww.DataError, match="did you mean `dog`"):
        run.sample(1, labels="dig")


def test_a_recipe_may_be_a_file_or_its_keys(vae: ww.Run, tmp_path: Path) -> None:
    keys = {**vae.recipe, "train": {**vae.recipe["train"], "steps": 20}}
    again = ww.train(keys, out=tmp_path / "keys", progress=False)
    assert model(again) == model(vae)
    of_file = ww.train(Path(vae.path) / "recipe.toml", out=tmp_path / "file", progress=False)
    assert model(of_file) == model(vae)
    seeded = ww.train(keys, seed=1, out=tmp_path / "seeded", progress=False, threads=1)
    assert model(seeded) != model(vae)


def test_metrics_are_those_of_the_command(vae: ww.Run, ring: ww.Run, command: Command) -> None:
    scores = vae.evaluate(samples=0, count=100)
    told = json.loads(command("evaluate", vae.path, "--samples", 0, "--count", 100, "--json"))
    assert scores == {metric["name"]: metric["value"] for metric in told["metrics"]}
    assert scores["neg_elbo"] > 0 and scores.metrics["neg_elbo"].unit == "nats"
    assert scores.metrics["neg_elbo"].higher_is_better is False
    assert "neg_elbo" in repr(scores) and "<td>neg_elbo</td>" in scores._repr_html_()
    points = ring.evaluate(samples=500, count=50)
    assert json.loads((Path(ring.path) / "metrics.json").read_text())["sample_seed"] == 0
    assert 0 <= points["modes_covered"] <= 8 and points.metrics["modes_covered"].floor == 8


def test_data_in_memory_is_there_for_the_evaluation(tmp_path: Path) -> None:
    data = (images(60), [0, 1, 2] * 20)
    settings = {**SMALL_VAE, "train.batch_size": 8}
    run = ww.train("vae-digits", data, steps=2, set=settings, out=tmp_path / "run", progress=False)
    found = run.evaluate(samples=0)
    loaded = ww.load(run.path)
    with pytest.raises(ww.DataError, match="memory"):
        loaded.evaluate(samples=0)
    assert loaded.evaluate(samples=0, data=data) == found
    page = loaded.report(tmp_path / "page.html", data=data)
    assert "<html" in Path(page).read_text(encoding="utf-8")


def test_files_are_those_of_the_command(vae: ww.Run, cgan: ww.Run, command: Command, tmp_path: Path) -> None:
    for run, part in [(vae, "encoder"), (vae, None), (cgan, None)]:
        mine = run.export_onnx(tmp_path / "mine.onnx", part)
        named = [] if part is None else ["--part", part]
        command("export", run.path, *named, "--out", tmp_path / "command.onnx")
        assert Path(mine).read_bytes() == (tmp_path / "command.onnx").read_bytes()
    assert vae.export_onnx().endswith("decoder.onnx")
    with pytest.raises(ww.ModelError):
        cgan.export_onnx(tmp_path / "none.onnx", "encoder")
    assert Path(vae.report()).name == "report.html"


def test_weights_are_those_of_the_file(vae: ww.Run) -> None:
    contents = model(vae)
    (length,) = struct.unpack("<Q", contents[:8])
    header = json.loads(contents[8 : 8 + length])
    header.pop("__metadata__", None)
    weights = vae.weights()
    assert set(weights) == set(header)
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        assert list(weights[name].shape) == entry["shape"] and entry["dtype"] == "F32"
        assert weights[name].tobytes() == contents[8 + length + start : 8 + length + end]
    decoder = vae.weights("decoder")
    assert all(f"decoder.{name}" in weights for name in decoder)
    with pytest.raises(ww.ModelError, match="there is no part `deocder`"):
        vae.weights("deocder")


def test_state_dict_is_for_torch(vae: ww.Run) -> None:
    torch = pytest.importorskip("torch")
    tensors = vae.state_dict("decoder")
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    assert same(tensors["hidden.0.weight"].numpy(), vae.weights("decoder")["hidden.0.weight"])


def test_a_run_shows_itself(vae: ww.Run, cgan: ww.Run) -> None:
    assert repr(cgan) == (
        f"<waxwork.Run {cgan.path}: cgan of images (1, 28, 28), 10 classes, 20 steps>"
    )
    assert 'src="data:image/png;base64,' in vae._repr_html_()
    assert (vae.family, vae.kind, vae.latent_dim, vae.classes) == ("vae", "images", 3, [])
    assert vae.columns == {} and vae.finished and vae.steps == 20
    assert cgan.classes == [str(digit) for digit in range(10)]


def test_a_grid_is_the_image_of_the_command(vae: ww.Run, command: Command, tmp_path: Path) -> None:
    grid = ww.grid(vae.sample(30))
    grid.save(tmp_path / "mine.png")
    command("sample", vae.path, "-n", 30, "--out", tmp_path / "command.png")
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "command.png").read_bytes() == grid._repr_png_()
