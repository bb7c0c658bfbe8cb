"""Networks of images: linear layers, DCGANs, residual networks and towers."""

import math

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


class Concatenating(nn.Module):
    """A network whose input, values (N, K) or images, has the one-hot label as more values or as constant channels."""

    def __init__(self, net, classes):
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, x, labels):
        if self.classes:
            y = F.one_hot(labels, self.classes).float()
            x = torch.cat([x, y if x.dim() == 2 else y[..., None, None].expand(-1, -1, *x.shape[2:])], 1)
        return self.net(x)


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


def ladder(size):
    """Returns the sizes (height, width) of an image that is halved, rounding up, until four to six pixels of its shorter side are
    left."""
    sizes = [size]
    while min(sizes[-1]) > 6:
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
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
    if init == "he":
        nn.init.kaiming_normal_(layer.weight)
    if init != "pytorch" and getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)
    return layer


def halved(size, times):
    """Returns the height and width of an image that is halved, rounding down."""
    return tuple(side >> times for side in size)


class ConditionalNorm(nn.Module):
    """Batch norm with a scale and shift per class."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.weight = nn.Parameter(torch.ones(10, channels))
        self.bias = nn.Parameter(torch.zeros(10, channels))

    def forward(self, x, labels):
        return self.norm(x) * self.weight[labels][..., None, None] + self.bias[labels][..., None, None]


class ConvGenerator(nn.Module):
    """The conditional generator of the table `model` of a recipe, of the kind `dcgan` or `tower`. Images have `planes` channels
    and the `size` (height, width)."""

    def __init__(self, model, planes, size):
        super().__init__()
        network, init = model["generator"], model["init"]
        tower = network["kind"] == "tower"
        channels = network["channels"] if not tower else widths(network, size)[::-1]
        self.sizes = ladder(size)[::-1] if tower else [halved(size, i) for i in range(len(channels), -1, -1)]
        detail = network.get("detail", 0)
        if detail:
            channels.append(detail)
            self.sizes.append(self.sizes[-1])
        # A tower receives the label together with the latent.
        self.conditional = model["conditioning"]["kind"] == "projection" and not tower
        inputs = model["latent_dim"] + (0 if self.conditional else 10)
        self.shape = (channels[0], *self.sizes[0])
        self.start = started(nn.Linear(inputs, math.prod(self.shape)), init)
        self.norms = nn.ModuleList((ConditionalNorm if self.conditional else nn.BatchNorm2d)(c) for c in channels)
        self.convs = nn.ModuleList()
        for i, (before, after) in enumerate(zip(channels, [*channels[1:], planes])):
            last = i + 1 == len(channels)
            if detail:
                conv = started(nn.Conv2d(before, after, 3, 1, 1, bias=last), init)
                self.convs.append(conv if last else nn.Sequential(nn.Upsample(scale_factor=2), conv))
            else:
                self.convs.append(started(nn.ConvTranspose2d(before, after, 4, 2, 1, bias=last), init))

    def forward(self, z, labels):
        x = z if self.conditional else torch.cat([z, F.one_hot(labels, 10).float()], 1)
        x = self.start(x).unflatten(1, self.shape)
        for norm, conv, (height, width) in zip(self.norms, self.convs, self.sizes[1:]):
            x = F.relu(norm(x, labels) if self.conditional else norm(x), inplace=True)
            x = conv(x)[:, :, :height, :width].contiguous()
        return torch.tanh(x)


class ConvDiscriminator(nn.Module):
    """The mirror of `ConvGenerator`. Returns a logit and, with an auxiliary classifier, logits of the classes. Batch norm follows
    every convolution except the first."""

    def __init__(self, model, planes, size):
        super().__init__()
        network, init = model["discriminator"], model["init"]
        norm, self.conditioning = network.get("norm", "none"), model["conditioning"]["kind"]

        def made(layer):
            layer = started(layer, init)
            return spectral(layer) if norm == "spectral" else layer

        layers, before = [], planes + (10 if self.conditioning == "concatenation" else 0)
        channels = widths(network, size)
        for i, after in enumerate(channels):
            normed = norm == "batch" and i > 0
            layers.append(made(nn.Conv2d(before, after, 4, 2, 1, bias=not normed)))
            layers += [nn.BatchNorm2d(after)] if normed else []
            layers.append(nn.LeakyReLU(0.2, True))
            before = after
        features = channels[-1] * math.prod(halved(size, len(channels)))
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
