# %% [markdown]
# # Tables
#
# This notebook learns a table and draws rows like those it has seen. It is written by
# `cargo xtask python-test --notebooks` from `crates/python/notebooks/tables.py`.

# %%
import numpy as np
import pandas as pd

import waxwork as ww

# %% [markdown]
# ## A table
#
# Columns are texts, numbers, booleans or dates, and may lack values. Here, the income depends on age and town, so that
# we can see what a model has learned.

# %%
rng = np.random.default_rng(0)
age = rng.integers(18, 80, 2000)
town = rng.choice(["Oslo", "Bergen", "Tromsø"], 2000, p=[0.5, 0.3, 0.2])
rich = rng.random(2000) < 1 / (1 + np.exp(-(age - 50) / 6 - (town == "Oslo")))
people = pd.DataFrame(
    {
        "age": age,
        "town": town,
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, 2000), unit="D"),
        "height": rng.normal(172, 9, 2000).round(1),
        "income": np.where(rich, ">50K", "<=50K"),
    }
)
people.loc[::11, "height"] = np.nan
people.head()

# %% [markdown]
# ## Train and sample
#
# `cvae-table` is a conditional VAE: you can ask it for values.

# %%
run = ww.train("cvae-table", people, label="income", steps=500, seed=1, out="runs/people", progress=False)
run

# %%
fake = run.sample(2000)
pd.DataFrame({"real": people.mean(numeric_only=True), "generated": fake.mean(numeric_only=True)}).round(1)

# %%
rich = run.sample(1000, where={"income": ">50K"})
poor = run.sample(1000, where={"income": "<=50K"})
pd.DataFrame(
    {
        "real": people.groupby("income")["age"].mean(),
        "generated": {"<=50K": poor["age"].mean(), ">50K": rich["age"].mean()},
    }
).round(1)

# %% [markdown]
# ## How good are they?
#
# `evaluate` compares rows with those that were held out: the shapes of columns, trends between them, how well a
# classifier that learned from generated rows predicts real ones, and the distance to the nearest real row.

# %%
run.evaluate(samples=2000)

# %% [markdown]
# ## In scikit-learn
#
# `TableSynthesizer` has the conventions of scikit-learn.

# %%
model = ww.TableSynthesizer("vae-table", steps=300, progress=False).fit(people.drop(columns="income"), people["income"])
model.sample(5)
