"""Trains a conditional GAN in PyTorch on real images until it is stopped, to measure sample quality against time.

Usage: quality.py NETWORKS DATA DATA_DIR FOLDER THREADS

NETWORKS is `plain` (the DCGAN of the reference recipe cgan-dcgan-mnist, or of gan-dcgan-cifar10 with labels) or `best` (the
networks, losses and optimiser of Waxwork's recipe for DATA). DATA is mnist, fashion-mnist or cifar10, in the files of the
original data sets below DATA_DIR. On SIGUSR1, the script writes 10,000 samples to FOLDER/samples.npy and their classes to
FOLDER/samples.labels.npy, then an empty file FOLDER/written, and continues. Each time, it prints the number of steps.
"""

import gzip
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


def ladder(size, up):
    """Returns the sizes of an image that is halved until four to six pixels are left; `up` is 1 to round up."""
    sizes = [size]
    while sizes[-1] > 6:
        sizes.append((sizes[-1] + up) // 2)
    return sizes


class Cut(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[:, :, : self.size, : self.size].contiguous()


class TowerDiscriminator(nn.Module):
    """Returns a logit, and logits of the classes. Batch norm follows every convolution except the first."""

    def __init__(self, planes, size, width):
        super().__init__()
        depth = len(ladder(size, 1)) - 1
        channels = [width * min(2**i, 8) for i in range(depth)]
        layers, before = [], planes
        for i, after in enumerate(channels):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=i == 0))
            layers += [nn.BatchNorm2d(after)] if i else []
            layers.append(nn.LeakyReLU(0.2, True))
            before = after
        features = channels[-1] * (size >> depth) ** 2
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.logit, self.classes = nn.Linear(features, 1), nn.Linear(features, 10)

    def forward(self, x):
        h = self.body(x)
        return self.logit(h).flatten(), self.classes(h)


def tower_generator(latent, planes, size, width):
    sizes = ladder(size, 1)[::-1]
    channels = [width * min(2**i, 8) for i in range(len(sizes) - 1)][::-1]
    layers = [nn.Linear(latent, channels[0] * sizes[0] ** 2), nn.Unflatten(1, (channels[0], sizes[0], sizes[0]))]
    layers += [nn.BatchNorm2d(channels[0]), nn.ReLU(True)]
    for before, after, size in zip(channels, channels[1:], sizes[1:]):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), Cut(size), nn.BatchNorm2d(after), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], planes, 4, 2, 1), Cut(sizes[-1]), nn.Tanh())


class TowerTrainer:
    """Non-saturating GAN with an auxiliary classifier. Samples are drawn from a moving average of the generator."""

    def __init__(self, latent, planes, size, widths, weight, lr, ema):
        self.latent, self.weight, self.decay = latent, weight, ema
        self.g = tower_generator(latent + 10, planes, size, widths[0])
        self.average = tower_generator(latent + 10, planes, size, widths[0])
        self.average.load_state_dict(self.g.state_dict())
        self.d = TowerDiscriminator(planes, size, widths[1])
        for module in [*self.g.modules(), *self.d.modules()]:
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                nn.init.normal_(module.weight, std=0.02)
        self.adam = [torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.999)) for net in (self.g, self.d)]

    def step(self, x, labels):
        x = 2 * x - 1
        y = F.one_hot(labels, 10).float()
        fake = self.g(torch.cat([torch.randn(len(x), self.latent), y], 1))
        (on_real, classes), (on_fake, _) = self.d(x), self.d(fake.detach())
        loss_d = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        loss_d = loss_d + self.weight * F.cross_entropy(classes, labels)
        self.adam[1].zero_grad(set_to_none=True)
        loss_d.backward()
        self.adam[1].step()
        self.d.requires_grad_(False)
        on_fake, classes = self.d(fake)
        loss_g = F.softplus(-on_fake).mean() + self.weight * F.cross_entropy(classes, labels)
        self.adam[0].zero_grad(set_to_none=True)
        loss_g.backward()
        self.adam[0].step()
        self.d.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.g.parameters()), 1 - self.decay)
            for own, new in zip(self.average.buffers(), self.g.buffers()):
                own.copy_(new)

    def sample(self, labels):
        self.average.eval()
        z = torch.cat([torch.randn(len(labels), self.latent), F.one_hot(labels, 10).float()], 1)
        return 0.5 + 0.5 * self.average(z)


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


def best(data):
    """Returns the networks of models/cgan-{data}.toml. A test of xtask compares the numbers."""
    if data == "cifar10":
        return TowerTrainer(128, 3, 32, (64, 64), 0.4, 4e-4, 0.998), 32, True
    return TowerTrainer(64, 1, 28, (64, 48), 0.4, 4e-4, 0.998), 32, False


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
    trainer, batch, flip = {"plain": plain, "best": best}[networks](data)
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
