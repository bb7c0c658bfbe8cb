"""Trains a conditional GAN in PyTorch on real images until it is stopped, to measure sample quality against time.

Usage: quality.py plain|best DATA DATA_DIR FOLDER THREADS [RECIPE]

`plain` is the DCGAN of the reference recipe cgan-dcgan-mnist, or of gan-dcgan-cifar10 with labels. `best` has the networks,
losses and optimiser of RECIPE, the output of `waxwork recipes show` as JSON. DATA is mnist, fashion-mnist or cifar10, read
from the files of the original data sets in DATA_DIR. On SIGUSR1, the script writes 10,000 samples to FOLDER/samples.npy and
their classes to FOLDER/samples.labels.npy, then an empty file FOLDER/written, and continues. Each time, it prints the number
of steps.
"""

import copy
import gzip
import json
import pathlib
import signal
import sys

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from reference import GanTrainer, dcgan

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


def ladder(size):
    """Returns the sizes of an image that is halved, rounding up, until four to six pixels are left."""
    sizes = [size]
    while sizes[-1] > 6:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def widths(network, size):
    """Returns the channels of the layers from the image to the smallest maps."""
    if network["kind"] == "tower":
        return [network["width"] * min(2**i, 8) for i in range(len(ladder(size)) - 1)]
    return network["channels"]


def started(layer, init):
    """Returns a layer with the initialisation of the recipe; `pytorch` is PyTorch's default."""
    if init == "normal":
        nn.init.normal_(layer.weight, std=0.02)
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)
    return layer


class ConditionalNorm(nn.Module):
    """Batch norm with a scale and shift per class."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.weight = nn.Parameter(torch.ones(10, channels))
        self.bias = nn.Parameter(torch.zeros(10, channels))

    def forward(self, x, labels):
        return self.norm(x) * self.weight[labels][..., None, None] + self.bias[labels][..., None, None]


class Generator(nn.Module):
    def __init__(self, model, planes, size):
        super().__init__()
        network, init = model["generator"], model["init"]
        tower = network["kind"] == "tower"
        channels = network["channels"] if not tower else widths(network, size)[::-1]
        self.sizes = ladder(size)[::-1] if tower else [size >> i for i in range(len(channels), -1, -1)]
        # A tower receives the label together with the latent.
        self.conditional = model["conditioning"]["kind"] == "projection" and not tower
        self.latent = model["latent_dim"]
        inputs = self.latent + (0 if self.conditional else 10)
        self.shape = (channels[0], self.sizes[0], self.sizes[0])
        self.start = started(nn.Linear(inputs, channels[0] * self.sizes[0] ** 2), init)
        self.norms = nn.ModuleList((ConditionalNorm if self.conditional else nn.BatchNorm2d)(c) for c in channels)
        outputs = [*channels[1:], planes]
        convs = [
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=i + 1 == len(channels))
            for i, (before, after) in enumerate(zip(channels, outputs))
        ]
        self.convs = nn.ModuleList(started(conv, init) for conv in convs)

    def forward(self, z, labels):
        x = z if self.conditional else torch.cat([z, F.one_hot(labels, 10).float()], 1)
        x = self.start(x).unflatten(1, self.shape)
        for norm, conv, size in zip(self.norms, self.convs, self.sizes[1:]):
            x = F.relu(norm(x, labels) if self.conditional else norm(x))
            x = conv(x)[:, :, :size, :size].contiguous()
        return torch.tanh(x)


class Discriminator(nn.Module):
    """Returns a logit and, with an auxiliary classifier, logits of the classes. Batch norm follows every convolution except the
    first."""

    def __init__(self, model, planes, size):
        super().__init__()
        network, init = model["discriminator"], model["init"]
        norm, self.conditioning = network["norm"], model["conditioning"]["kind"]

        def made(layer):
            layer = started(layer, init)
            return nn.utils.parametrizations.spectral_norm(layer) if norm == "spectral" else layer

        layers, before = [], planes + (10 if self.conditioning == "concatenation" else 0)
        channels = widths(network, size)
        for i, after in enumerate(channels):
            normed = norm == "batch" and i > 0
            layers.append(made(nn.Conv2d(before, after, 4, 2, 1, bias=not normed)))
            layers += [nn.BatchNorm2d(after)] if normed else []
            layers.append(nn.LeakyReLU(0.2, True))
            before = after
        features = channels[-1] * (size >> len(channels)) ** 2
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.logit = made(nn.Linear(features, 1))
        if self.conditioning == "projection":
            embedding = nn.Embedding(10, features)
            nn.init.uniform_(embedding.weight, -(features**-0.5), features**-0.5)
            self.embedding = made(embedding)
        if self.conditioning == "auxiliary-classifier":
            self.classes = made(nn.Linear(features, 10))

    def forward(self, x, labels):
        if self.conditioning == "concatenation":
            planes = F.one_hot(labels, 10).float()[..., None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, planes], 1)
        h = self.body(x)
        logit = self.logit(h).flatten()
        if self.conditioning == "projection":
            logit = logit + (self.embedding(labels) * h).sum(1)
        return logit, self.classes(h) if self.conditioning == "auxiliary-classifier" else None


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


class BestTrainer:
    """A conditional GAN with the networks, losses and optimiser of a recipe. The learning rate is constant. Samples are drawn from a
    moving average of the generator, if the recipe has one."""

    def __init__(self, recipe, planes, size):
        model, optimizer = recipe["model"], recipe["optimizer"]
        check(model)
        self.loss, self.penalty, self.steps = model["loss"], model.get("penalty"), 0
        self.weight = model["conditioning"].get("weight", 0.0)
        self.g, self.d = Generator(model, planes, size), Discriminator(model, planes, size)
        self.decay = optimizer.get("ema")
        self.average = copy.deepcopy(self.g)
        lr, betas = optimizer["lr"], tuple(optimizer["betas"])
        self.adam = [torch.optim.Adam(net.parameters(), lr=lr, betas=betas) for net in (self.g, self.d)]

    def slope(self, x, labels):
        """Returns half the mean squared norm of the discriminator's gradient."""
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.d(x, labels)[0].sum(), x, create_graph=True)
        return 0.5 * gradient.square().flatten(1).sum(1).mean()

    def step(self, x, labels):
        x = 2 * x - 1
        fake = self.g(torch.randn(len(x), self.g.latent), labels)
        (on_real, classes), (on_fake, _) = self.d(x, labels), self.d(fake.detach(), labels)
        if self.loss == "hinge":
            loss_d = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        elif self.loss == "relativistic":
            loss_d = F.softplus(on_fake - on_real).mean()
        else:
            loss_d = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        if self.weight:
            loss_d = loss_d + self.weight * F.cross_entropy(classes, labels)
        if self.penalty and self.steps % self.penalty["every"] == 0:
            slope = self.slope(x, labels)
            if self.penalty["kind"] == "r1-r2":
                slope = slope + self.slope(fake, labels)
            loss_d = loss_d + self.penalty["weight"] * self.penalty["every"] * slope
        self.adam[1].zero_grad(set_to_none=True)
        loss_d.backward()
        self.adam[1].step()
        self.d.requires_grad_(False)
        on_fake, classes = self.d(fake, labels)
        if self.loss == "hinge":
            loss_g = -on_fake.mean()
        elif self.loss == "relativistic":
            loss_g = F.softplus(self.d(x, labels)[0] - on_fake).mean()
        else:
            loss_g = F.softplus(-on_fake).mean()
        if self.weight:
            loss_g = loss_g + self.weight * F.cross_entropy(classes, labels)
        self.adam[0].zero_grad(set_to_none=True)
        loss_g.backward()
        self.adam[0].step()
        self.d.requires_grad_(True)
        self.steps += 1
        with torch.no_grad():
            decay = min(self.decay or 0.0, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.g.parameters()), 1 - decay)
            for own, new in zip(self.average.buffers(), self.g.buffers()):
                own.copy_(new)

    def sample(self, labels):
        self.average.eval()
        return 0.5 + 0.5 * self.average(torch.randn(len(labels), self.g.latent), labels)


class PlainTrainer(GanTrainer):
    def sample(self, labels):
        self.g.eval()
        images = 0.5 + 0.5 * self.g(torch.cat([torch.randn(len(labels), self.latent), F.one_hot(labels, 10).float()], 1))
        self.g.train()
        return images


def plain(data):
    latent, channels, size, planes = (128, [256, 128, 64], 4, 3) if data == "cifar10" else (100, [128, 64], 7, 1)
    trainer = dcgan(latent, channels, size, planes, 10)
    trainer.__class__ = PlainTrainer
    return trainer, 64, False


def best(data, recipe):
    """Returns a trainer of the recipe, its batch size, and whether it mirrors images."""
    recipe = json.loads(recipe)
    planes, size = (3, 32) if data == "cifar10" else (1, 28)
    return BestTrainer(recipe, planes, size), recipe["train"]["batch_size"], recipe["train"]["flip"]


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
