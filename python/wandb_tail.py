"""Sends the metrics of a run to Weights & Biases until the run ends. Usage: python wandb_tail.py RUN [PROJECT]

Needs wandb, and Python 3.11 or newer.
"""

import json
import pathlib
import sys
import time
import tomllib

import wandb

run = pathlib.Path(sys.argv[1])
metrics, recipe = run / "metrics.jsonl", tomllib.loads((run / "recipe.toml").read_text("utf-8"))
wandb.init(project=(sys.argv[2:] or ["waxwork"])[0], name=run.name, config=recipe)
sent, training = set(), True
while training:
    training = json.loads((run / "run.json").read_text("utf-8"))["status"] == "running"
    text = metrics.read_text("utf-8") if metrics.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():  # the last line may be incomplete
        values = {name: value for name, value in json.loads(line).items() if value is not None}
        step = values.pop("step")
        if (step, *values) not in sent:  # a resumed run writes some lines again, with the same values
            wandb.log(values, step=step)
            sent.add((step, *values))
    time.sleep(5 if training else 0)
wandb.finish()
