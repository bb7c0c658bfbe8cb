"""Measures the training steps of the plain reference recipes in PyTorch.

Usage: reference.py RECIPE BATCH STEPS THREADS SAMPLES FOLDER DEVICE EVERY eager|compiled

Losses are read every EVERY steps; on a GPU, each reading waits for the device. Prints one JSON object: "steps", the
seconds of a step, one number from each reading to the next; "first", the seconds from the start of the process to the end
of the first step; "peak", the peak memory of training in bytes; "sampling", the seconds from a file with weights to a file
with SAMPLES images (a multiple of 100), both in FOLDER, synced like Waxwork's; "version". The training images are random
numbers, generated before the clock starts, so that no measurement includes reading them.
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


class Vae(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.hidden = nn.Linear(784 + classes, 400)
        self.mean, self.log_var = nn.Linear(400, 20), nn.Linear(400, 20)
        self.up, self.output = nn.Linear(20 + classes, 400), nn.Linear(400, 784)

    def decode(self, z, y):
        return self.output(F.relu(self.up(torch.cat([z, y], 1))))

    def loss(self, x, y):
        x = x.flatten(1)
        h = F.relu(self.hidden(torch.cat([x, y], 1)))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        reconstruction = F.binary_cross_entropy_with_logits(self.decode(z, y), x, reduction="sum")
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
        return (reconstruction + kl) / len(x)


def generator(latent, channels, size, out):
    layers = [nn.Linear(latent, channels[0] * size * size), nn.Unflatten(1, (channels[0], size, size))]
    layers += [nn.BatchNorm2d(channels[0]), nn.ReLU(True)]
    for inputs, outputs in zip(channels, channels[1:]):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], out, 4, 2, 1), nn.Tanh())


def discriminator(inputs, channels, size):
    layers = [nn.Conv2d(inputs, channels[0], 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for before, after in zip(channels, channels[1:]):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * size * size, 1), nn.Flatten(0))


def spectral(layer):
    return nn.utils.parametrizations.spectral_norm(layer)


class Up(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(2))
        self.shortcut = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        h = self.convs[0](F.interpolate(F.relu(self.norms[0](x)), scale_factor=2))
        h = self.convs[1](F.relu(self.norms[1](h)))
        return h + F.interpolate(self.shortcut(x), scale_factor=2)


class Down(nn.Module):
    def __init__(self, inputs, channels, first, halves):
        super().__init__()
        self.conv1 = spectral(nn.Conv2d(inputs, channels, 3, 1, 1))
        self.conv2 = spectral(nn.Conv2d(channels, channels, 3, 1, 1))
        changes = halves or inputs != channels
        self.shortcut = spectral(nn.Conv2d(inputs, channels, 1)) if changes else nn.Identity()
        self.first, self.halve = first, nn.AvgPool2d(2) if halves else nn.Identity()

    def forward(self, x):
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        return self.halve(h) + self.shortcut(self.halve(x))


class Sum(nn.Module):
    def forward(self, x):
        return F.relu(x).sum((2, 3))


def residual_generator(latent, channels, blocks, size, out):
    layers = [nn.Linear(latent, channels * size * size), nn.Unflatten(1, (channels, size, size))]
    layers += [Up(channels) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(True), nn.Conv2d(channels, out, 3, 1, 1), nn.Tanh())


def residual_discriminator(inputs, channels, blocks):
    layers = [Down(inputs if i == 0 else channels, channels, i == 0, i < 2) for i in range(blocks)]
    return nn.Sequential(*layers, Sum(), spectral(nn.Linear(channels, 1)), nn.Flatten(0))


class VaeTrainer:
    def __init__(self, classes):
        self.classes, self.model = classes, Vae(classes)
        self.sampled = self.model
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def compile(self):
        self.model.loss = torch.compile(self.model.loss)

    def step(self, x, labels):
        y = F.one_hot(labels, 10).float()[:, : self.classes]
        loss = self.model.loss(x, y)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        return loss.detach()

    def sample(self, n):
        y = F.one_hot(torch.arange(n) % 10, 10).float()[:, : self.classes]
        return torch.sigmoid(self.model.decode(torch.randn(n, 20), y))


class GanTrainer:
    def __init__(self, latent, classes, g, d, hinge=False):
        self.latent, self.classes, self.g, self.d, self.hinge = latent, classes, g, d, hinge
        self.sampled = g
        self.adam = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (self.g, self.d)]

    def compile(self):
        self.g.compile()
        self.d.compile()

    def judge(self, x, y):
        planes = y[..., None, None].expand(-1, -1, *x.shape[2:])
        return self.d(torch.cat([x, planes], 1) if self.classes else x)

    def step(self, x, labels):
        x = 2 * x - 1
        y = F.one_hot(labels, 10).float()[:, : self.classes]
        fake = self.g(torch.cat([torch.randn(len(x), self.latent), y], 1))
        on_real, on_fake = self.judge(x, y), self.judge(fake.detach(), y)
        if self.hinge:
            loss_d = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        else:
            loss_d = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        self.adam[1].zero_grad(set_to_none=True)
        loss_d.backward()
        self.adam[1].step()
        for p in self.d.parameters():
            p.requires_grad_(False)
        on_fake = self.judge(fake, y)
        loss_g = -on_fake.mean() if self.hinge else F.softplus(-on_fake).mean()
        self.adam[0].zero_grad(set_to_none=True)
        loss_g.backward()
        self.adam[0].step()
        for p in self.d.parameters():
            p.requires_grad_(True)
        return loss_d.detach() + loss_g.detach()

    def sample(self, n):
        self.g.eval()
        y = F.one_hot(torch.arange(n) % 10, 10).float()[:, : self.classes]
        return 0.5 + 0.5 * self.g(torch.cat([torch.randn(n, self.latent), y], 1))


def dcgan(latent, channels, size, planes, classes):
    d = discriminator(planes + classes, channels[::-1], size)
    return GanTrainer(latent, classes, generator(latent + classes, channels, size, planes), d)


def residual():
    return GanTrainer(128, 0, residual_generator(128, 256, 3, 4, 3), residual_discriminator(3, 128, 4), hinge=True)


TRAINERS = {
    "vae-mlp-mnist": lambda: VaeTrainer(0),
    "cvae-mlp-mnist": lambda: VaeTrainer(10),
    "gan-dcgan-mnist": lambda: dcgan(100, [128, 64], 7, 1, 0),
    "cgan-dcgan-mnist": lambda: dcgan(100, [128, 64], 7, 1, 10),
    "gan-dcgan-cifar10": lambda: dcgan(128, [256, 128, 64], 4, 3, 0),
    "gan-residual": residual,
}
COLOUR = ["gan-dcgan-cifar10", "gan-residual"]


def sample(trainer, count, folder):
    weights = os.path.join(folder, "weights.pt")
    torch.save(trainer.sampled.state_dict(), weights)
    os.sync()
    begun = time.perf_counter()
    trainer.sampled.load_state_dict(torch.load(weights))
    with torch.no_grad(), tempfile.NamedTemporaryFile(suffix=".npy", dir=folder) as file:
        samples = torch.cat([trainer.sample(100) for _ in range(count // 100)])
        numpy.save(file, samples.cpu().numpy())
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
    shape = (3, 32, 32) if recipe in COLOUR else (1, 28, 28)
    trainer = TRAINERS[recipe]()
    if sys.argv[9] == "compiled":
        trainer.compile()
    images, labels = torch.rand(16, batch, *shape), torch.randint(10, (16, batch))
    times = []
    for i in range(steps):
        if i % every == 0:
            begun = time.perf_counter()
        loss = trainer.step(images[i % 16], labels[i % 16])
        if (i + 1) % every == 0:
            loss.item()
            times.append((time.perf_counter() - begun) / every)
        if i + 1 == every:
            first = time.perf_counter() - START
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sampling = sample(trainer, count, folder) if count else 0.0
    print(json.dumps({"steps": times, "first": first, "peak": peak, "sampling": sampling, "version": torch.__version__}))


if __name__ == "__main__":
    main()
