"""Trains a conditional GAN in PyTorch on real images until it is stopped, to measure sample quality against time.

Usage: quality.py plain|best DATA DATA_DIR FOLDER THREADS [RECIPE]

`plain` is the DCGAN of the reference recipe cgan-dcgan-mnist, or of gan-dcgan-cifar10 with labels. `best` has the networks,
losses and optimiser of RECIPE, the output of `waxwork recipes show` as JSON. DATA is mnist, fashion-mnist or cifar10, read
from the files of the original data sets in DATA_DIR. On SIGUSR1, the script writes 10,000 samples to FOLDER/samples.npy and
their classes to FOLDER/samples.labels.npy, then an empty file FOLDER/written, and continues. Each time, it prints the number
of steps.
"""

import gzip
import json
import pathlib
import signal
import sys

import numpy
import torch

from networks_images import ConvDiscriminator, ConvGenerator
from reference import dcgan
from trainers import GanTrainer

SAMPLES = 10_000


def original_file(folders, name):
    for folder in folders:
        for path in (folder / name, folder / (name + ".gz")):
            if path.exists():
                return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    raise SystemExit(f"found no {name} in {', '.join(map(str, folders))}")


def load(data, dir):
    """Returns the training images, (N, C, H, W), uint8, and their classes."""
    if data == "cifar10":
        folders = [dir / "cifar-10-batches-bin", dir]
        records = [original_file(folders, f"data_batch_{i}.bin") for i in range(1, 6)]
        records = numpy.frombuffer(b"".join(records), numpy.uint8).reshape(-1, 3073)
        images, labels = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
    else:
        folders = [dir / data, dir]
        images = numpy.frombuffer(original_file(folders, "train-images-idx3-ubyte"), numpy.uint8, offset=16)
        images = images.reshape(-1, 1, 28, 28)
        labels = numpy.frombuffer(original_file(folders, "train-labels-idx1-ubyte"), numpy.uint8, offset=8)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(numpy.int64))


# The kinds that a recipe may use, by key of [model].
SUPPORTED = {
    "generator": ("tower", "dcgan"),
    "discriminator": ("tower", "dcgan"),
    "conditioning": ("concatenation", "projection", "auxiliary-classifier"),
    "penalty": ("r1", "r1-r2"),
    "loss": ("non-saturating", "hinge", "relativistic"),
    "init": ("pytorch", "normal"),
}
# The values that other keys of [model] must have.
UNCHANGED = {"family": "cgan", "label_smoothing": 0.0, "n_critic": 1, "pack": 1, "augment": []}


def check(model):
    """Exits if a recipe uses something that this script does not support."""
    for key, value in model.items():
        kind = value.get("kind") if isinstance(value, dict) else value
        blocks = value.get("blocks", 0) if isinstance(value, dict) else 0
        known = key in SUPPORTED and kind in SUPPORTED[key] and blocks == 0
        if not known and key != "latent_dim" and UNCHANGED.get(key) != value:
            raise SystemExit(f"quality.py does not support `model.{key} = {value}` of the recipe")


def plain(data):
    latent, channels, size, planes = (128, [256, 128, 64], 4, 3) if data == "cifar10" else (100, [128, 64], 7, 1)
    return dcgan(latent, channels, size, planes, 10), 64, False


def best(data, recipe):
    """Returns a trainer of the recipe, its batch size, and whether it mirrors images."""
    recipe = json.loads(recipe)
    model, optimizer = recipe["model"], recipe["optimizer"]
    check(model)
    planes, size = (3, (32, 32)) if data == "cifar10" else (1, (28, 28))
    trainer = GanTrainer(
        ConvGenerator(model, planes, size),
        ConvDiscriminator(model, planes, size),
        model["latent_dim"],
        loss=model["loss"],
        penalty=model.get("penalty"),
        weight=model["conditioning"].get("weight", 0.0),
        lr=optimizer["lr"],
        betas=tuple(optimizer["betas"]),
        ema=optimizer.get("ema"),
    )
    return trainer, recipe["train"]["batch_size"], recipe["train"]["flip"]


def write(trainer, folder):
    labels = torch.arange(SAMPLES) % 10
    with torch.no_grad():
        samples = torch.cat([trainer.sample(part) for part in labels.split(100)])
    numpy.save(folder / "samples.npy", samples.clamp(0, 1).numpy())
    numpy.save(folder / "samples.labels.npy", labels.numpy())
    (folder / "written").touch()


def main():
    networks, data, dir, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
    torch.set_num_threads(int(sys.argv[5]))
    torch.manual_seed(0)
    asked = []
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))
    images, labels = load(data, dir)
    trainer, batch, flip = plain(data) if networks == "plain" else best(data, sys.argv[6])
    steps = 0
    while True:
        for chosen in torch.randperm(len(images)).split(batch):
            if len(chosen) < batch:
                continue
            x = images[chosen].float() / 255
            if flip:
                x = torch.where((torch.rand(batch) < 0.5)[:, None, None, None], x.flip(3), x)
            trainer.step(x, labels[chosen])
            steps += 1
            if asked:
                asked.clear()
                print(steps, flush=True)
                write(trainer, folder)


main()
