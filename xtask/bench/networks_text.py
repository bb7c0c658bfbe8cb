"""Networks of text: a GAN with convolutions along one-hot tokens (N, L, V), and a recurrent VAE of token numbers (N, L), in
which 0 ends a text and fills the rest."""

import torch
import torch.nn.functional as F
from torch import nn


class SequenceBlock(nn.Module):
    def __init__(self, features, wrap=lambda layer: layer):
        super().__init__()
        self.convs = nn.ModuleList(wrap(nn.Conv1d(features, features, 5, padding=2)) for _ in range(2))

    def forward(self, x):
        return x + 0.3 * self.convs[1](F.relu(self.convs[0](F.relu(x))))


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def text_generator(latent, length, vocabulary, channels, blocks):
    layers = [nn.Linear(latent, channels * length), nn.Unflatten(1, (channels, length))]
    layers += [SequenceBlock(channels) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.Conv1d(channels, vocabulary, 1), Transposed(), nn.Softmax(2))


def text_discriminator(length, vocabulary, channels, blocks):
    layers = [Transposed(), nn.Conv1d(vocabulary, channels, 1), *(SequenceBlock(channels) for _ in range(blocks))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * length, 1), nn.Flatten(0))


class TextVae(nn.Module):
    """An LSTM as encoder and another as decoder, which gets the latent at every step. Both compute padding, as in most programs.
    The last layer does not. Its weight is the decoder's embedding."""

    def __init__(self, latent, vocabulary, embedding, dropout, free_bits):
        super().__init__()
        self.vocabulary, self.dropout, self.free_bits, hidden = vocabulary, dropout, free_bits, embedding
        self.embedding, self.encoder = nn.Embedding(vocabulary, embedding), nn.LSTM(embedding, hidden, batch_first=True)
        self.mean, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        # The last row is the missing token: the one before the first.
        self.given = nn.Embedding(vocabulary + 1, embedding)
        self.start, self.decoder = nn.Linear(latent, 2 * hidden), nn.LSTM(embedding + latent, hidden, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def loss(self, tokens, labels):
        ends = (tokens == 0).long()
        # An end counts, but not what follows it.
        counted = ends.cumsum(1) == ends
        h = self.encoder(self.embedding(tokens))[0][torch.arange(len(tokens)), counted.sum(1) - 1]
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        given = F.pad(tokens[:, :-1], (1, 0), value=self.vocabulary)
        inputs = F.dropout(self.given(given), self.dropout)
        inputs = torch.cat([inputs, z[:, None].expand(-1, tokens.shape[1], -1)], 2)
        start = torch.tanh(self.start(z))[None].chunk(2, 2)
        states = self.decoder(inputs, tuple(state.contiguous() for state in start))[0]
        logits = F.linear(F.dropout(states, self.dropout)[counted], self.given.weight[:-1], self.bias)
        reconstruction = F.cross_entropy(logits, tokens[counted], reduction="sum") / len(tokens)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean(0)
        return reconstruction + kl.clamp(min=self.free_bits).sum()
