"""Networks of clips (N, T, C, 32, 32)."""

import torch
import torch.nn.functional as F
from torch import nn

from networks_images import spectral
from networks_text import SequenceBlock


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
        self.blocks = nn.Sequential(*(SequenceBlock(features) for _ in range(2)))
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
