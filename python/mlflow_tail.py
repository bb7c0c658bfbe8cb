"""Sends the metrics of a run to MLflow until the run ends. Usage: python mlflow_tail.py RUN [EXPERIMENT]

Needs mlflow. MLFLOW_TRACKING_URI selects the server, as in every program that uses MLflow.
"""

import json
import pathlib
import sys
import time

import mlflow

run = pathlib.Path(sys.argv[1])
metrics = run / "metrics.jsonl"
mlflow.set_experiment((sys.argv[2:] or ["waxwork"])[0])
sent, training = set(), True
with mlflow.start_run(run_name=run.name):
    mlflow.log_artifact(str(run / "recipe.toml"))
    while training:
        training = json.loads((run / "run.json").read_text("utf-8"))["status"] == "running"
        text = metrics.read_text("utf-8") if metrics.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():  # the last line may be incomplete
            values = {name: value for name, value in json.loads(line).items() if value is not None}
            step = values.pop("step")
            if (step, *values) not in sent:  # a resumed run writes some lines again, with the same values
                mlflow.log_metrics(values, step=step)
                sent.add((step, *values))
        time.sleep(5 if training else 0)
