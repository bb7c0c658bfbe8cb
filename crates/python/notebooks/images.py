# %% [markdown]
# # Images
#
# This notebook trains a conditional GAN and a VAE on small images. It is written by
# `cargo xtask python-test --notebooks` from `crates/python/notebooks/images.py`.

# %%
import numpy as np

import waxwork as ww

# %% [markdown]
# A recipe says what is trained on which data. `cgan-digits-plain` learns digits that Waxwork draws itself. Two hundred
# steps take seconds, and are far too few for good digits. A run shows its samples.

# %%
run = ww.train("cgan-digits-plain", steps=200, out="runs/digits", progress=False)
run

# %% [markdown]
# ## Samples
#
# Samples are NumPy arrays. Sample *i* is a function of the seed, of *i* and of its label, so that the same call gives
# the same bytes, here and with the command `waxwork sample`.

# %%
images = run.sample(40, labels=np.arange(40) % 10, seed=1)
images.shape, images.dtype, float(images.min()), float(images.max())

# %%
ww.grid(images)

# %% [markdown]
# From threes to eights, with the same latent in each row:

# %%
ww.grid(run.interpolate(3, labels=[3, 8], fixed_latent=True).reshape(-1, 1, 28, 28))

# %% [markdown]
# ## Your own arrays
#
# Images are `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`, as uint8 or as floats from 0 to 1. These are bright squares;
# the label is the half of the image in which a square lies.

# %%
rng = np.random.default_rng(0)
squares = np.zeros((600, 16, 16), dtype=np.uint8)
rows, columns = rng.integers(0, 11, (2, 600))
for square, row, column in zip(squares, rows, columns):
    square[row : row + 5, column : column + 5] = 255
halves = np.where(columns < 6, "left", "right")

vae = ww.train(
    "cvae-digits", (squares, halves), steps=300, set={"model.latent_dim": 2}, out="runs/squares", progress=False
)
vae.classes

# %%
ww.grid(vae.sample(20, labels=["left"] * 10 + ["right"] * 10))

# %% [markdown]
# ## Latents
#
# A VAE encodes. The latent of a square should say where it is, so a straight line should predict its row:

# %%
latents = vae.encode(squares, halves)
design = np.c_[latents, np.ones(len(latents))]
weights, residual, *_ = np.linalg.lstsq(design, rows, rcond=None)
share = 1 - residual[0] / ((rows - rows.mean()) ** 2).sum()
f"{share:.0%} of the variance of the row"

# %%
ww.grid(np.concatenate([squares[:10, None] / 255, vae.reconstruct(squares[:10], halves[:10])]))

# %% [markdown]
# ## Metrics and files
#
# `evaluate` measures a run as the command does; metrics of features are plain functions. Here, the features are pixels.

# %%
vae.evaluate(samples=0)

# %%
made = vae.sample(600).reshape(600, -1)
ww.metrics.frechet(squares.reshape(600, -1) / 255, made), ww.metrics.cover(squares.reshape(600, -1) / 255, made)

# %%
vae.export_onnx("squares.onnx"), list(vae.weights("decoder"))
