"""Measures the training steps of the reference recipes in PyTorch.

Usage: reference.py RECIPE BATCH STEPS THREADS SAMPLES FOLDER DEVICE EVERY eager|compiled

Losses are read every EVERY steps; on a GPU, each reading waits for the device. Prints one JSON object: "steps", the
seconds of a step, one number from each reading to the next; "first", the seconds from the start of the process to the end
of the first step; "peak", the peak memory of training in bytes; "sampling", the seconds from a file with weights to a file
with SAMPLES images (a multiple of 100), both in FOLDER, synced like Waxwork's; "sizes", the number of values of every tensor
of the networks, ascending; "version". The training samples are random numbers, generated before the clock starts, so that no
measurement includes reading them.
"""

import time

START = time.perf_counter()

import json
import os
import resource
import sys
import tempfile

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from networks_clips import ClipDiscriminator, ClipUp, ClipVae
from networks_images import (
    Concatenating,
    ConvDiscriminator,
    ConvGenerator,
    Vae,
    discriminator,
    generator,
    residual_discriminator,
    residual_generator,
)
from networks_sound import WaveDiscriminator, WaveGenerator
from networks_text import TextVae, text_discriminator, text_generator
from trainers import GanTrainer, VaeTrainer


def unconditional(g, d, latent, **settings):
    return GanTrainer(Concatenating(g, 0), Concatenating(d, 0), latent, **settings)


def dcgan(latent, channels, size, planes, classes, **settings):
    g = Concatenating(generator(latent + classes, channels, size, planes), classes)
    d = Concatenating(discriminator(planes + classes, channels[::-1], size), classes)
    return GanTrainer(g, d, latent, **settings)


def tower(widths, conditioning, planes, size):
    """A conditional GAN for images of any size. The widths are those of the generator and of the discriminator."""
    model = {
        "latent_dim": 64,
        "generator": {"kind": "tower", "width": widths[0]},
        "discriminator": {"kind": "tower", "width": widths[1], "norm": "batch"},
        "conditioning": conditioning,
        "init": "normal",
    }
    g, d = ConvGenerator(model, planes, size), ConvDiscriminator(model, planes, size)
    return GanTrainer(g, d, 64, weight=conditioning.get("weight", 0.0), lr=4e-4, ema=0.998)


def residual():
    g, d = residual_generator(128, 256, 3, 4, 3), residual_discriminator(3, 128, 4)
    return unconditional(g, d, 128, loss="hinge")


def clip_gan():
    g = nn.Sequential(ClipUp(32, 16, 16, 3, 16, 64, lambda: nn.ReLU(True), True), nn.Tanh())
    return unconditional(g, ClipDiscriminator(16, 3, 16, 64), 32, lr=4e-4, ema=0.998)


# The settings of the recipes with a penalty on the gradient.
WASSERSTEIN = {"loss": "wasserstein", "penalty": {"kind": "gradient", "weight": 10.0}, "n_critic": 2, "images": False}


def text_gan():
    g, d = text_generator(64, 16, 130, 64, 2), text_discriminator(16, 130, 64, 2)
    return unconditional(g, d, 64, **WASSERSTEIN, lr=1e-3, betas=(0.5, 0.9), ema=0.99)


def wave_gan(length):
    channels = [128, 64, 32, 16]
    g, d = WaveGenerator(64 + 10, channels, length), WaveDiscriminator(channels[::-1], length, 10)
    return GanTrainer(Concatenating(g, 10), d, 64, **WASSERSTEIN, weight=1.0, lr=3e-4, betas=(0.5, 0.9), ema=0.998)


CONCATENATION = {"kind": "concatenation"}
CLASSIFIER = {"kind": "auxiliary-classifier", "weight": 0.4}
TRAINERS = {
    "vae-mlp-mnist": lambda: VaeTrainer(Vae(0)),
    "cvae-mlp-mnist": lambda: VaeTrainer(Vae(10), 10),
    "gan-dcgan-mnist": lambda: dcgan(100, [128, 64], 7, 1, 0, ema=0.999),
    "cgan-dcgan-mnist": lambda: dcgan(100, [128, 64], 7, 1, 10, ema=0.999),
    "gan-dcgan-cifar10": lambda: dcgan(128, [256, 128, 64], 4, 3, 0),
    "gan-residual": residual,
    "cgan-digits": lambda: tower((32, 32), CONCATENATION, 1, (28, 28)),
    "cgan-mnist": lambda: tower((64, 48), CLASSIFIER, 1, (28, 28)),
    "cgan-tower-cifar10": lambda: tower((64, 48), CLASSIFIER, 3, (32, 32)),
    "gan-clip": clip_gan,
    "vae-clip": lambda: VaeTrainer(ClipVae(32, 16, 16, 3, 16, 64, 256), clip=1000.0),
    "vae-ptb": lambda: VaeTrainer(TextVae(32, 10_000, 256, 0.3, 0.11), clip=5.0, ema=0.999),
    "gan-phrases": text_gan,
    "cgan-drums": lambda: tower((32, 32), CONCATENATION, 1, (64, 32)),
    "cgan-drums-wave": lambda: wave_gan(4096),
}


def sentences(batch):
    """Token numbers of sentences with as many words as those that bench.rs writes, up to the end of the longest."""
    lengths = 1 + torch.randint(21, (batch, 1)) + torch.randint(21, (batch, 1))
    places = torch.arange(int(lengths.max()) + 1)
    return torch.randint(1, 10_000, (batch, len(places))).masked_fill(places >= lengths, 0)


def samples(recipe, batch):
    """Random training samples of a batch."""
    if recipe == "vae-ptb":
        return sentences(batch)
    if recipe == "gan-phrases":
        return F.one_hot(torch.randint(130, (batch, 16)), 130).float()
    if recipe == "cgan-drums-wave":
        return 2 * torch.rand(batch, 1, 4096) - 1
    return torch.rand(batch, *SHAPES.get(recipe, (1, 28, 28)))


SHAPES = {
    "gan-dcgan-cifar10": (3, 32, 32),
    "gan-residual": (3, 32, 32),
    "cgan-tower-cifar10": (3, 32, 32),
    "cgan-drums": (1, 64, 32),
    "gan-clip": (16, 3, 32, 32),
    "vae-clip": (16, 3, 32, 32),
}


def sample(trainer, count, folder):
    weights = os.path.join(folder, "weights.pt")
    torch.save(trainer.sampled.state_dict(), weights)
    os.sync()
    begun = time.perf_counter()
    trainer.sampled.load_state_dict(torch.load(weights))
    with torch.no_grad(), tempfile.NamedTemporaryFile(suffix=".npy", dir=folder) as file:
        images = torch.cat([trainer.sample(torch.arange(100) % 10) for _ in range(count // 100)])
        numpy.save(file, images.cpu().numpy())
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - begun


def main():
    recipe, batch, steps, threads, count, folder = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
    device, every = sys.argv[7].replace("metal", "mps"), int(sys.argv[8])
    torch.set_num_threads(threads)
    torch.set_default_device(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    trainer = TRAINERS[recipe]()
    if sys.argv[9] == "compiled":
        trainer.compile()
    batches = [(samples(recipe, batch), torch.randint(10, (batch,))) for _ in range(16)]
    times = []
    for i in range(steps):
        if i % every == 0:
            begun = time.perf_counter()
        loss = trainer.step(*batches[i % 16])
        if (i + 1) % every == 0:
            loss.item()
            times.append((time.perf_counter() - begun) / every)
        if i + 1 == every:
            first = time.perf_counter() - START
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sampling = sample(trainer, count, folder) if count else 0.0
    tensors = [tensor for network in trainer.networks for tensor in network.state_dict().values()]
    # The counters of batch norm are the only integers. Waxwork has none.
    sizes = sorted(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    report = {"steps": times, "first": first, "peak": peak, "sampling": sampling, "sizes": sizes}
    print(json.dumps({**report, "version": torch.__version__}))


if __name__ == "__main__":
    main()
