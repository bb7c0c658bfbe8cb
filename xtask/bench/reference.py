"""Measures the training steps of the plain reference recipes in PyTorch.

Usage: reference.py RECIPE BATCH STEPS THREADS SAMPLES FOLDER DEVICE EVERY eager|compiled

Losses are read every EVERY steps; on a GPU, each reading waits for the device. Prints one JSON object: "steps", the
seconds of a step, one number from each reading to the next; "first", the seconds from the start of the process to the end
of the first step; "peak", the peak memory of training in bytes; "sampling", the seconds from a file with weights to a file
with SAMPLES images (a multiple of 100), both in FOLDER, synced like Waxwork's; "version". The training samples are random
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


class SequenceBlock(nn.Module):
    def __init__(self, features, wrap):
        super().__init__()
        self.convs = nn.ModuleList(wrap(nn.Conv1d(features, features, 5, padding=2)) for _ in range(2))

    def forward(self, x):
        return x + 0.3 * self.convs[1](F.relu(self.convs[0](F.relu(x))))


class ClipDown(nn.Module):
    """Clips (N, T, C, 32, 32) to the features of frames (N, T, features) and of clips (N, features, T)."""

    def __init__(self, channels, width, features, activation, wrap=lambda layer: layer):
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width]
        layers = [[wrap(nn.Conv2d(a, b, 4, 2, 1)), activation()] for a, b in zip(widths, widths[1:])]
        self.down = nn.Sequential(*sum(layers, []), nn.Flatten(), wrap(nn.Linear(4 * width * 16, features)), activation())
        self.mix = nn.Sequential(wrap(nn.Conv1d(features, features, 5, padding=2)), activation())
        self.blocks = nn.Sequential(*(SequenceBlock(features, wrap) for _ in range(2)))

    def forward(self, clips):
        frames = self.down(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return frames, self.blocks(self.mix(frames.transpose(1, 2)))


class ClipUp(nn.Module):
    """Latents, of which the last `motion` values are the motion, to clips (N, T, C, 32, 32)."""

    def __init__(self, latent, motion, frames, channels, width, features, activation, norm):
        super().__init__()
        self.split, self.shape, self.activation = [latent - motion, motion], (features, frames), activation()
        self.motion = nn.Linear(motion, features * frames)
        self.blocks = nn.Sequential(*(SequenceBlock(features, lambda layer: layer) for _ in range(2)))
        after = lambda outputs: [nn.BatchNorm2d(outputs), activation()] if norm else [activation()]
        layers = [nn.Linear(features + latent - motion, 2 * features), activation()]
        layers += [nn.Linear(2 * features, 4 * width * 16), nn.Unflatten(1, (4 * width, 4, 4)), *after(4 * width)]
        for inputs, outputs in [(4 * width, 2 * width), (2 * width, width)]:
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=not norm), *after(outputs)]
        self.up = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1))

    def forward(self, z):
        content, motion = z.split(self.split, 1)
        codes = self.activation(self.blocks(self.motion(motion).unflatten(1, self.shape))).transpose(1, 2)
        content = content[:, None].expand(-1, codes.shape[1], -1)
        frames = self.up(torch.cat([codes, content], 2).flatten(0, 1))
        return frames.unflatten(0, codes.shape[:2])


class ClipDiscriminator(nn.Module):
    """A critic of clips and one of frames, with the same weight in the mean of the logits (N, 2T)."""

    def __init__(self, frames, channels, width, features):
        super().__init__()
        self.clip = ClipDown(channels, width, features, lambda: nn.LeakyReLU(0.2, True), spectral)
        self.frames, self.output = spectral(nn.Linear(features, 1)), spectral(nn.Linear(features * frames, 1))

    def forward(self, clips):
        frames, clip = self.clip(clips)
        frames = self.frames(frames).squeeze(2)
        return torch.cat([self.output(clip.flatten(1)).expand_as(frames), frames], 1)


class ClipVae(nn.Module):
    """A Gaussian likelihood with one learned scale."""

    def __init__(self, latent, motion, frames, channels, width, features, hidden):
        super().__init__()
        self.down = ClipDown(channels, width, features, nn.SiLU)
        self.hidden = nn.Linear(features * frames, hidden)
        self.mean, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.up = ClipUp(latent, motion, frames, channels, width, features, nn.SiLU, False)
        self.log_scale = nn.Parameter(torch.tensor(0.1).log())

    def loss(self, x, y):
        h = F.silu(self.hidden(self.down(x)[1].flatten(1)))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        away = (x - torch.sigmoid(self.up(z))) * (-self.log_scale).exp()
        likelihood = -0.5 * away.square().sum() - x.numel() * (self.log_scale + 0.918938533204672742)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
        return (kl - likelihood) / len(x)


class VaeTrainer:
    def __init__(self, classes, model=None):
        self.classes, self.model = classes, model or Vae(classes)
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
        if not self.classes:
            return self.d(x)
        planes = y[..., None, None].expand(-1, -1, *x.shape[2:])
        return self.d(torch.cat([x, planes], 1))

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


def clip_gan():
    generator = nn.Sequential(ClipUp(32, 16, 16, 3, 16, 64, lambda: nn.ReLU(True), True), nn.Tanh())
    return GanTrainer(32, 0, generator, ClipDiscriminator(16, 3, 16, 64))


TRAINERS = {
    "vae-mlp-mnist": lambda: VaeTrainer(0),
    "cvae-mlp-mnist": lambda: VaeTrainer(10),
    "gan-dcgan-mnist": lambda: dcgan(100, [128, 64], 7, 1, 0),
    "cgan-dcgan-mnist": lambda: dcgan(100, [128, 64], 7, 1, 10),
    "gan-dcgan-cifar10": lambda: dcgan(128, [256, 128, 64], 4, 3, 0),
    "gan-residual": residual,
    "gan-clip": clip_gan,
    "vae-clip": lambda: VaeTrainer(0, ClipVae(32, 16, 16, 3, 16, 64, 256)),
}
COLOUR = ["gan-dcgan-cifar10", "gan-residual"]
CLIPS = ["gan-clip", "vae-clip"]


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
    shape = (16, 3, 32, 32) if recipe in CLIPS else (3, 32, 32) if recipe in COLOUR else (1, 28, 28)
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
