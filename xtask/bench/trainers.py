"""Training steps of VAEs and GANs, with the optimisers of recipes. Learning rates and weights of terms are constant."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class Optimiser:
    """Adam. `clip` limits the norm of the gradient; `ema` is the decay of a moving average of the weights."""

    def __init__(self, net, lr, betas, clip=None, ema=None):
        self.net, self.clip, self.decay, self.steps = net, clip, ema, 0
        self.average = copy.deepcopy(net) if ema else net
        self.adam = torch.optim.Adam(net.parameters(), lr=lr, betas=betas)

    def step(self, loss):
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.adam.step()
        self.steps += 1
        if self.decay:
            self.follow()

    @torch.no_grad()
    def follow(self):
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - decay)
        for own, new in zip(self.average.buffers(), self.net.buffers()):
            own.copy_(new)


class VaeTrainer:
    """A VAE whose `loss` takes samples and one-hot labels of `classes` classes."""

    def __init__(self, model, classes=0, lr=1e-3, clip=None, ema=None):
        self.model, self.classes = model, classes
        self.networks = [model]
        self.optimiser = Optimiser(model, lr, (0.9, 0.999), clip, ema)
        self.sampled = self.optimiser.average

    def compile(self):
        self.model.loss = torch.compile(self.model.loss)

    def step(self, x, labels):
        loss = self.model.loss(x, F.one_hot(labels, 10).float()[:, : self.classes])
        self.optimiser.step(loss)
        return loss.detach()

    def sample(self, labels):
        y = F.one_hot(labels, 10).float()[:, : self.classes]
        return torch.sigmoid(self.sampled.decode(torch.randn(len(labels), 20), y))


def discriminator_loss(kind, on_real, on_fake):
    if kind == "hinge":
        return F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
    if kind == "wasserstein":
        return on_fake.mean() - on_real.mean()
    if kind == "relativistic":
        return F.softplus(on_fake - on_real).mean()
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


class GanTrainer:
    """A GAN. The generator maps latents and labels to samples. The discriminator maps samples and labels to a logit, or to a
    logit and the logits of the classes, whose cross-entropy has the weight `weight`. Samples that are `images` come in [0, 1],
    and the networks see them in [-1, 1]. `penalty` is the table of that name in a recipe."""

    def __init__(
        self,
        g,
        d,
        latent,
        images=True,
        loss="non-saturating",
        penalty=None,
        weight=0.0,
        n_critic=1,
        lr=2e-4,
        betas=(0.5, 0.999),
        ema=None,
    ):
        self.g, self.d, self.latent, self.images = g, d, latent, images
        self.loss, self.penalty, self.weight, self.n_critic = loss, penalty, weight, n_critic
        self.networks, self.steps = [g, d], 0
        # Samples are drawn from the average of the generator; nothing needs one of the discriminator.
        self.of_g, self.of_d = Optimiser(g, lr, betas, ema=ema), Optimiser(d, lr, betas)
        self.sampled = self.of_g.average

    def compile(self):
        self.g.compile()
        self.d.compile()

    def judge(self, x, labels):
        judged = self.d(x, labels)
        return judged if isinstance(judged, tuple) else (judged, None)

    def slope(self, x, labels):
        """Returns the squared norm of the discriminator's gradient at each sample."""
        x = x.detach().requires_grad_(True)
        # Networks that torch.compile has compiled have no second derivatives, so this calls the original one.
        judged = self.d.forward(x, labels)
        logits = judged[0] if isinstance(judged, tuple) else judged
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().flatten(1).sum(1)

    def penalised(self, loss, x, fake, labels):
        """Returns the discriminator's loss with the penalty, if there is one at this step."""
        if self.penalty is None or self.steps % self.penalty.get("every", 1):
            return loss
        weight = self.penalty["weight"] * self.penalty.get("every", 1)
        if self.penalty["kind"] == "gradient":
            mix = torch.rand(len(x), *[1] * (x.dim() - 1))
            slope = self.slope(fake + mix * (x - fake), labels)
            return loss + weight * (slope.sqrt() - 1).square().mean()
        slope = self.slope(x, labels)
        if self.penalty["kind"] == "r1-r2":
            slope = slope + self.slope(fake, labels)
        return loss + weight * 0.5 * slope.mean()

    def step(self, x, labels):
        x = 2 * x - 1 if self.images else x
        trains_g = (self.steps + 1) % self.n_critic == 0
        with torch.set_grad_enabled(trains_g):
            fake = self.g(torch.randn(len(x), self.latent), labels)
        (on_real, classes), (on_fake, _) = self.judge(x, labels), self.judge(fake.detach(), labels)
        loss_d = discriminator_loss(self.loss, on_real, on_fake)
        if self.weight:
            loss_d = loss_d + self.weight * F.cross_entropy(classes, labels)
        self.of_d.step(self.penalised(loss_d, x, fake.detach(), labels))
        self.steps += 1
        if not trains_g:
            return loss_d.detach()
        self.d.requires_grad_(False)
        on_fake, classes = self.judge(fake, labels)
        if self.loss in ("hinge", "wasserstein"):
            loss_g = -on_fake.mean()
        elif self.loss == "relativistic":
            loss_g = F.softplus(self.judge(x, labels)[0] - on_fake).mean()
        else:
            loss_g = F.softplus(-on_fake).mean()
        if self.weight:
            loss_g = loss_g + self.weight * F.cross_entropy(classes, labels)
        self.of_g.step(loss_g)
        self.d.requires_grad_(True)
        return loss_d.detach() + loss_g.detach()

    def sample(self, labels):
        self.sampled.eval()
        images = 0.5 + 0.5 * self.sampled(torch.randn(len(labels), self.latent), labels)
        self.sampled.train()
        return images
