"""Networks of waveforms (N, 1, L): WaveGAN. Log-mel spectrograms are images."""

import torch
import torch.nn.functional as F
from torch import nn

from networks_images import started


class WaveGenerator(nn.Sequential):
    def __init__(self, inputs, channels, length):
        short = length // 4 ** len(channels)
        layers = [started(nn.Linear(inputs, channels[0] * short), "he"), nn.Unflatten(1, (channels[0], short))]
        for before, after in zip(channels, [*channels[1:], 1]):
            layers += [nn.ReLU(True), started(nn.ConvTranspose1d(before, after, 25, 4, 11, output_padding=1), "he")]
        super().__init__(*layers, nn.Tanh())


class WaveDiscriminator(nn.Module):
    """Returns a logit and the logits of the classes. Phase shuffle follows every layer except the last."""

    def __init__(self, channels, length, classes, shuffle=2):
        super().__init__()
        convs = [nn.Conv1d(before, after, 25, 4, 11) for before, after in zip([1, *channels], channels)]
        self.convs, self.shuffle = nn.ModuleList(started(conv, "he") for conv in convs), shuffle
        features = channels[-1] * (length // 4 ** len(channels))
        self.logit, self.classes = started(nn.Linear(features, 1), "he"), started(nn.Linear(features, classes), "he")

    def shifted(self, x):
        """Moves each sample by its own number of positions, with mirror images at the edges."""
        length = x.shape[2]
        padded = F.pad(x, (self.shuffle, self.shuffle), "reflect")
        first = torch.randint(2 * self.shuffle + 1, (len(x), 1, 1))
        places = (first + torch.arange(length)).expand(-1, x.shape[1], -1)
        return padded.gather(2, places)

    def forward(self, x, labels):
        for i, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x), 0.2, inplace=True)
            if i + 1 < len(self.convs):
                x = self.shifted(x)
        x = x.flatten(1)
        return self.logit(x).flatten(), self.classes(x)
