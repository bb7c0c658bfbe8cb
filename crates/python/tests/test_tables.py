"""Tables: frames in and out, conditions, and scikit-learn's conventions."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command, model

import waxwork as ww

SMALL = {
    "train.batch_size": 100,
    "train.log_every": 1,
    "train.sample_every": 5,
    "train.checkpoint_every": 5,
    "model.network": {"kind": "mlp", "hidden": [16]},
    "model.latent_dim": 4,
}


def people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A table with a column of every kind."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    town = rng.choice(["Oslo", "Bergen", "Bodø"], rows)
    frame = pd.DataFrame(
        {
            "age": age,
            "height": rng.normal(170, 10, rows).round(1),
            "town": town,
            "smokes": rng.random(rows) < 0.3,
            "children": rng.integers(0, 2, rows),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, rows), unit="D"),
            "income": np.where(age > 50, ">50K", "<=50K"),
        }
    )
    frame.loc[::7, "height"] = np.nan
    frame.loc[::9, "town"] = None
    return frame


@pytest.fixture(scope="session")
def table(home: Path) -> ww.Run:
    return ww.train("cvae-table", people(), label="income", steps=10, set=SMALL, out=home / "table", progress=False)


def test_frames_come_back_with_the_same_columns_and_types(table: ww.Run) -> None:
    frame, fake = people(), table.sample(300)
    assert isinstance(fake, pd.DataFrame) and list(fake.columns) == list(frame.columns)
    for name in ["age", "height", "smokes", "children"]:
        assert fake[name].dtype == frame[name].dtype, name
    assert fake["since"].dtype.kind == "M"
    assert set(fake["town"].dropna()) <= {"Oslo", "Bergen", "Bodø"}
    assert fake["age"].between(frame["age"].min(), frame["age"].max()).all()
    assert set(fake["children"]) <= {0, 1}
    assert fake["since"].between(frame["since"].min(), frame["since"].max()).all()
    assert table.sample(300).equals(fake) and not table.sample(300, seed=1).equals(fake)
    assert table.columns["income"] == ["<=50K", ">50K"] and table.columns["age"] == "integer"
    assert "<table" in table._repr_html_()


def test_rows_are_those_of_the_command(table: ww.Run, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    command("sample", table.path, "-n", 250, "--seed", 2, "--out", out)
    text = pd.read_csv(io.StringIO(out.read_text(encoding="utf-8")), dtype=str, keep_default_na=False)
    fake = table.sample(250, seed=2)
    spelled = {
        "age": lambda value: str(value),
        "height": lambda value: "" if pd.isna(value) else repr(float(value)),
        "town": lambda value: "" if pd.isna(value) else value,
        "smokes": lambda value: str(bool(value)).lower(),
        "children": lambda value: str(value),
        "since": lambda value: value.strftime("%Y-%m-%d"),
        "income": lambda value: value,
    }
    for name, spell in spelled.items():
        mine, theirs = [spell(value) for value in fake[name]], list(text[name])
        if name == "height":
            # The file may write 170 for 170.0.
            mine = [value and float(value) for value in mine]
            theirs = [value and float(value) for value in theirs]
        assert mine == theirs, name


def test_frames_train_to_the_bytes_of_a_file_with_the_same_cells(tmp_path: Path) -> None:
    frame = people()
    file = tmp_path / "people.csv"
    frame.to_csv(file, index=False)
    of_frame = ww.train("vae-table", frame, steps=6, set=SMALL, out=tmp_path / "a", progress=False)
    of_file = ww.train("vae-table", file, steps=6, set=SMALL, out=tmp_path / "b", progress=False)
    assert model(of_frame) == model(of_file)
    columns = {name: frame[name].tolist() for name in frame}
    of_columns = ww.train("vae-table", columns, steps=6, set=SMALL, out=tmp_path / "c", progress=False)
    assert model(of_columns) == model(of_frame)
    frames = [run.sample(50) for run in (of_frame, of_file, of_columns)]
    assert frames[0].equals(frames[2])
    assert frames[0]["since"].equals(frames[1]["since"]) and frames[0]["age"].equals(frames[1]["age"])


def test_rows_have_the_values_that_are_asked_for(table: ww.Run, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    command("sample", table.path, "-n", 120, "--where", "income=>50K", "--out", out)
    theirs = pd.read_csv(out, keep_default_na=False, dtype=str)
    mine = table.sample(120, where={"income": ">50K"})
    assert list(mine["income"]) == list(theirs["income"]) and [str(age) for age in mine["age"]] == list(theirs["age"])
    assert table.sample(20, where={"smokes": True}).equals(table.sample(20, where={"smokes": "true"}))
    like = table.sample(6, like=people()[["income", "smokes"]])
    again = table.sample(6, like={"income": people()["income"].tolist(), "smokes": people()["smokes"].tolist()})
    assert like.equals(again) and len(like) == 6
    for where, words in [
        ({"incme": "x"}, "incme"),
        ({"income": "1M"}, "1M"),
        ({"age": 3}, "only categories and booleans can"),
    ]:
        with pytest.raises(ww.DataError, match=words):
            table.sample(1, where=where)
    with pytest.raises(ww.DataError, match="`where`"):
        table.sample(1, labels=[0])


def test_an_unconditional_model_takes_no_values(tmp_path: Path) -> None:
    run = ww.train("vae-table", people(), steps=2, set=SMALL, out=tmp_path / "run", progress=False)
    with pytest.raises(ww.ModelError, match="vae models cannot be asked for values"):
        run.sample(1, where={"income": ">50K"})
    latents = run.encode(people()[:9])
    assert latents.shape == (9, 4)
    assert list(run.reconstruct(people()[:9]).columns) == list(people().columns)
    with pytest.raises(ww.DataError, match="age"):
        run.encode(people().drop(columns="age"))


def test_held_out_rows_may_be_given(tmp_path: Path) -> None:
    run = ww.train(
        "vae-table", people(), test=people(50, 1), steps=2, set=SMALL, out=tmp_path / "run", progress=False
    )
    assert '"test": 50' in (tmp_path / "run/run.json").read_text()
    with pytest.raises(ww.DataError, match="income"):
        test = people(50).drop(columns="income")
        ww.train("vae-table", people(), test=test, steps=2, set=SMALL, out=tmp_path / "x", progress=False)
    assert run.finished


def test_types_of_pandas(tmp_path: Path) -> None:
    frame = people(200)
    frame["nullable"] = pd.array([None if row % 5 == 0 else row % 50 for row in range(200)], dtype="Int64")
    frame["kind"] = pd.Categorical(frame["town"])
    frame["zoned"] = frame["since"].dt.tz_localize("Europe/Oslo")
    frame["born"] = [datetime.date(1990, 1, 1 + row % 28) for row in range(200)]
    frame["mixed"] = [row if row % 2 else str(row % 7) for row in range(200)]
    frame["string"] = frame["town"].astype("string")
    run = ww.train("vae-table", frame, steps=2, set=SMALL, out=tmp_path / "run", progress=False)
    fake = run.sample(200)
    assert str(fake["nullable"].dtype) == "Int64" and fake["nullable"].isna().any()
    assert run.columns["kind"] == run.columns["string"] == ["Bergen", "Bodø", "Oslo"]
    assert str(fake["born"].dtype).startswith("datetime64") and run.columns["zoned"] == "date"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: pd.concat([f, f[["age"]]], axis=1), "two columns named `age`"),
        (lambda f: f.assign(thing=[{} for _ in range(len(f))]), "column `thing` has a dict in row 0"),
        (lambda f: f.assign(thing=[None, [1], *[2] * (len(f) - 2)]), "column `thing` has a list in row 1"),
        (lambda f: f.assign(thing=pd.to_timedelta(f["age"], unit="D")), "column `thing` has the type timedelta64"),
        (lambda f: f.assign(height=np.inf), "an infinite number"),
        (lambda f: f[:0], "no rows"),
        (lambda f: f.assign(thing=None), "thing"),
        (lambda f: {"a": [1, 2, 3], "b": [1, 2]}, "column `b` has 2 values, but the other columns have 3"),
    ],
)
def test_frames_that_do_not_fit_are_errors_of_one_line(change: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ww.DataError, match=words) as raised:
        ww.train("vae-table", change(people(40)), steps=1, set=SMALL, out=tmp_path / "run", progress=False)  # type: ignore[operator]
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_label_that_is_no_column(tmp_path: Path) -> None:
    with pytest.raises(ww.DataError, match="incme"):
        ww.train("vae-table", people(), label="incme", steps=1, set=SMALL, out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_dates_that_nanoseconds_cannot_count_are_errors(tmp_path: Path) -> None:
    late = np.array(["9999-12-31"] * 40, dtype="datetime64[s]")
    for dates in (late, [datetime.date(9999, 12, 31)] * 40):
        with pytest.raises(ww.DataError, match="column `until` has 9999-12-31.* in row 0: dates must lie between"):
            ww.train("vae-table", people(40).assign(until=dates), steps=1, set=SMALL, out=tmp_path / "r", progress=False)


def test_an_estimator_has_the_conventions_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    estimator = ww.TableSynthesizer("vae-table", steps=3, set=SMALL, progress=False)
    assert estimator.get_params()["steps"] == 3 and clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(steps=4) is estimator and estimator.steps == 4
    with pytest.raises(ValueError, match="no parameter `stepz`"):
        estimator.set_params(stepz=1)
    with pytest.raises(ww.ModelError, match="not fitted"):
        estimator.sample(1)

    frame = people()
    without_age = FunctionTransformer(lambda table: table.drop(columns="age"))
    pipeline = Pipeline([("drop", without_age), ("model", estimator)])
    assert pipeline.set_params(model__steps=2).fit(frame.drop(columns="income"), frame["income"]) is pipeline
    assert estimator.run_.steps == 2 and estimator.n_features_in_ == 6
    assert list(estimator.feature_names_in_) == ["height", "town", "smokes", "children", "since", "income"]
    fake = estimator.sample(25, seed=3)
    assert len(fake) == 25 and list(fake.columns) == list(estimator.feature_names_in_)
    assert estimator.run_.recipe["data"]["table"]["label"] == "income"
    assert repr(estimator).startswith("TableSynthesizer(recipe='vae-table', steps=2")
    assert sklearn.utils.get_tags(estimator).input_tags.two_d_array
    folder = Path(estimator.run_.path)
    again = ww.TableSynthesizer("vae-table", steps=2, set=SMALL, progress=False)
    again.fit(frame.drop(columns=["age", "income"]), frame["income"])
    assert again.sample(25, seed=3).equals(fake)
    del estimator, pipeline
    import gc

    gc.collect()
    assert not folder.exists()


def test_an_estimator_learns_arrays() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(150, 3))
    found = ww.TableSynthesizer("vae-table", steps=2, set=SMALL, progress=False).fit(rows, rng.integers(0, 2, 150))
    assert list(found.sample(5).columns) == ["x0", "x1", "x2", "y"]
    with pytest.raises(ww.DataError, match="rows and columns"):
        ww.TableSynthesizer().fit(np.zeros(3))
