"""Recipes are read strictly, and errors say what to do."""

import json
import os

import pytest
import yaml

from unveil.errors import RecipeError
from unveil.training.recipe_file import dump_recipe, load_recipe, parse_recipe, recipe_schema

TEXT = """
model: {id: cu_mamba_tiny}
data: {train: [{clean: "${PHOTOS}/clean", task: noise}]}
degradation: {noise: [{steps: "noise:sigma_255=25"}]}
optim: {lr: 3e-4, loss: l1}
schedule: {steps: 10, phases: [{until: 0.5, patch: 8, batch: 2}, {until: 1, patch: 16, batch: 1}]}
evaluation: {sets: [{clean: x}], degradations: ["identity"], every: 5m}
"""


@pytest.fixture(autouse=True)
def _photos(monkeypatch):
    monkeypatch.setenv("PHOTOS", "/sets")


def test_values_defaults_and_variables_are_resolved():
    recipe = parse_recipe(TEXT)
    assert recipe.optim.lr == 3e-4
    assert str(recipe.data.train[0].clean) == "/sets/clean"
    assert (recipe.seed, recipe.optim.ema) == (0, 0.999)


def test_a_resolved_recipe_reads_back_as_itself():
    recipe = parse_recipe(TEXT)
    assert parse_recipe(dump_recipe(recipe)) == recipe


@pytest.mark.parametrize(
    ("change", "key", "nearest"),
    [
        ("optim.weightdecay=1", "optim.weightdecay", "'weight_decay'"),
        ("optim.betta=1", "optim.betta", "'betas'"),
        ("schedule.phases.1.pach=8", "schedule.phases.1.pach", "'patch'"),
        ("data.train.0.claen=x", "data.train.0.claen", "'clean'"),
        ("evalation={}", "evalation", "'evaluation'"),
        ("evaluation.sets.0.pair=x", "evaluation.sets.0.pair", "'pairs'"),
        ("degradation.noise.0.step=x", "degradation.noise.0.step", "'steps'"),
    ],
)
def test_an_unknown_key_is_an_error_naming_the_nearest(change, key, nearest):
    with pytest.raises(RecipeError, match=f"unknown key '{key}': did you mean ({nearest})"):
        parse_recipe(TEXT, [change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.lr=0", "optim.lr"),
        ("optim.loss=l3", "unknown loss term 'l3'"),
        ("schedule.duration=soon", "length of time"),
        ("schedule.phases.1.until=0.9", "last at 1"),
        ("schedule.phases.1.until=0.5", "one after the other"),
        ("data.train.0.task=rain", "'rain' is not in `degradation`, which has noise"),
        ("optim.task_loss={haze: 0.1}", "the task haze that optim.task_loss names"),
        ("schedule.phases.0.task_loss={haze: 1}", "the task haze that a phase names"),
        ("optim.task_loss={noise: 0}", "optim.task_loss"),
        ("schedule.phases.0.tasks={haze: 1}", "no source in data.train has the task haze"),
        ("data.train.0.pairs=y", "one of `clean: FOLDER`, `pairs: FOLDER`"),
        ("optim.memory=lots", "amount of memory"),
        ("evaluation.degradations=[]", "clean sets need `degradations`"),
        ("evaluation.sets.0.shrink=2", "`shrink` and `weight` are for training"),
        ("data.train.0.layout=pairs", "`layout` and `steps` are for pairs"),
        ("data.train.0.steps=jpeg", "`layout` and `steps` are for pairs"),
        ("data.train.0={generated: flats}", "expected `any`, or one or several of flat, gradient"),
        ("data.train.0={generated: flat, include: a}", "`generated` has none"),
        ("data.train.0={generated: flat, shrink: 2}", "`shrink` is for clean folders"),
        ("data.train.0={generated: flat, task: art}", "'art' is not in `degradation`"),
        ("evaluation.sets.0={generated: flat}", "`generated` and `steps` are for training"),
        ("degradation.noise.0.steps=nois", "did you mean 'noise'"),
        ("degradation.noise.0.clean=tone:faint", "unknown word 'faint'"),
        ("data.train.0.include=*.png", "quote what starts with a special sign"),
        ("seed=-1", "seed"),
        ("optim.betas=[0.9, 1]", "betas"),
        ("optim.lr", "key=value"),
        ("schedule.phases.7.patch=3", "'7' is not a position"),
        ("seed.x=3", "cannot set 'seed.x'"),
        ("optim.lr.x=3", "cannot set 'optim.lr.x'"),
    ],
)
def test_a_wrong_value_is_an_error_saying_why(change, message):
    with pytest.raises(RecipeError) as error:
        parse_recipe(TEXT + "seed: 1\n", [change])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_steps_of_clean_change_both_sides():
    change = "degradation.noise.0={clean: 'gray+jpeg:quality=90', steps: 'noise:sigma_255=5'}"
    (way,) = parse_recipe(TEXT, [change]).degradation["noise"]
    assert way.description == "gray+jpeg:quality=90,side=both+noise:sigma_255=5"
    assert parse_recipe(TEXT).degradation["noise"][0].description == "noise:sigma_255=25"


def test_a_missing_section_is_named():
    with pytest.raises(RecipeError, match="'optim' is missing"):
        parse_recipe(TEXT.replace("optim: {lr: 3e-4, loss: l1}", ""))


def test_steps_on_the_command_line_replace_a_duration():
    text = TEXT.replace("steps: 10", "duration: 1h")
    recipe = parse_recipe(text, ["schedule.steps=7"])
    assert (recipe.schedule.steps, recipe.schedule.duration) == (7, None)


def test_overrides_reach_into_lists_and_new_sections():
    recipe = parse_recipe(TEXT, ["schedule.phases.1.batch=8", "model.options.d_state=4", "seed=5"])
    assert recipe.schedule.phases[1].batch == 8
    assert recipe.model.options == {"d_state": 4}
    assert recipe.seed == 5


def test_an_unset_variable_is_an_error(monkeypatch):
    monkeypatch.delenv("PHOTOS")
    with pytest.raises(RecipeError, match=r"\$\{PHOTOS\}"):
        parse_recipe(TEXT)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "", "model: !!python/object:os.system {}"])
def test_what_is_no_recipe_is_refused(text):
    with pytest.raises(RecipeError):
        parse_recipe(text)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_the_schema_is_json_and_closed():
    schema = json.loads(recipe_schema())
    assert set(schema["properties"]) == {
        "model", "data", "degradation", "optim", "schedule", "evaluation", "seed",
    }  # fmt: skip
    assert schema["additionalProperties"] is False


def test_numbers_are_read_as_everywhere_else():
    tree = yaml.safe_load("x: 1e-3")
    assert tree["x"] == "1e-3"  # YAML 1.1, which recipes depart from
    assert parse_recipe(TEXT, ["optim.lr=1e-3"]).optim.lr == 1e-3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("schedule.phases.0.batch=1000000000", "less than or equal to 65536"),
        ("schedule.phases.0.batch=" + "9" * 5000, "schedule.phases.0.batch"),
        ("schedule.phases.0={until: 0.5, patch: 16000, batch: 65000}", "megapixels"),
        ("schedule.steps=1e30", "schedule.steps"),
        ("optim.lr=.inf", "finite"),
        ("optim.lr=.nan", "optim.lr"),
        ("optim.loss=" + "9" * 400 + "*l1", "not finite"),
        ("optim.loss=" + "l1+" * 9000 + "l1", "expected a few terms"),
        ("data.cache=" + "9" * 5000 + "GB", "amount of memory"),
        ("evaluation.every=" + "1" * 100_000 + "m", "length of time"),
        ("seed=2024-13-45", "seed"),
        ("data.train.²=x", "not a position"),
        ("data.train." + "9" * 5000 + "=x", "not a position"),
        (".".join("a" * 100) + "=1", "no key of a recipe lies so deep"),
        ("model.options=&a {b: *a}", "an alias to what it stands in"),
        ("model.id=" + "[" * 3000, "nested more than"),
    ],
)
def test_values_out_of_reason_are_one_line(change, said):
    with pytest.raises(RecipeError, match=said) as refused:
        parse_recipe(TEXT, [change])
    assert "\n" not in str(refused.value)


def test_files_that_are_no_text_are_one_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(TEXT.encode() + b"# caf\xe9")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecipeError, match="a pipe or a device"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="a folder"):
        load_recipe(tmp_path)


def test_a_variable_that_is_not_set_hides_no_other_error(monkeypatch):
    monkeypatch.delenv("PHOTOS")
    with pytest.raises(RecipeError) as refused:
        parse_recipe(TEXT, ["optim.weightdecay=1", "schedule.steps=0"])
    for said in ("unknown key 'optim.weightdecay'", "schedule.steps", "${PHOTOS}: set this"):
        assert said in str(refused.value)
    with pytest.raises(RecipeError, match=r"^recipe: the recipe uses \$\{PHOTOS\} and \$\{WAIT\}"):
        parse_recipe(TEXT, ["evaluation.every=${WAIT}"])
