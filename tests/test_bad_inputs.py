"""What bad input gets: a clear error or a stated treatment, and nothing half-done.

Each error is an error of `xavier` and also the built-in one that it resembles, says in one line
what is wrong, and hints in another. Whatever happens, the model and the process are afterwards
as they were, to the bit; but for what `init_` draws when it goes through.
"""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import xavier
from bad_models import (
    Batch,
    Calls,
    Output,
    Raises,
    TakesGradients,
    TakesTwo,
    Writes,
    WritesInPlace,
    empty_parameters,
    frozen,
    half_on_meta,
    in_inference_mode,
    integers,
    mlp,
    nested,
    nothing_changes,
    oddly_named,
    of_complex,
    of_float8,
    quantized_buffer,
    quantized_dynamically,
    quantized_parameter,
    quietly,
    rows,
    sparse_buffer,
    sparse_parameter,
    twice,
    unowned_on_meta,
    with_nan,
    with_overlap,
)
from xavier import (
    DtypeError,
    PlanError,
    StreamError,
    TraceError,
    UnknownNameError,
    Verdict,
    WriteError,
    XavierError,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::xavier.frameworks.torch.write.SameBitsWarning",  # the same names again and again
)

GOES = None  # the call goes through


class Joined(nn.Module):
    """Takes a list of tensors, as detectors do."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 5)

    def forward(self, pictures):
        return self.a(torch.stack(pictures))


class Mapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 1)

    def forward(self, x):
        return torch.func.vmap(torch.func.grad(lambda row: self.a(row).tanh().sum()))(x)


def case(name, make, example, *, plan=GOES, init=GOES, check=GOES):
    return pytest.param(make, example, (plan, init, check), id=name)


def same(error, match):
    return {"plan": (error, match), "init": (error, match), "check": (error, match)}


def unplanned(error, match, **check):
    return {"plan": (error, match), "init": (error, match), **check}


IDS = torch.arange(12).reshape(3, 4) % 10
NO_MODEL = r"{} is no model that xavier can plan"
SCRIPTED = r"scripted module, whose weights cannot be followed"
LAZY = (PlanError, r"`0\.weight`: a lazy parameter has no shape yet\nHint: run the model once")
NO_GRADIENT = (TraceError, r"holds no tensor that depends on a parameter\nHint: ")

CASES = [
    # --- Examples that do not fit.
    case("shape", mlp, rows(3, 7), **same(TraceError, r"raised RuntimeError .*\nHint: .*shape")),
    case("integers", mlp, torch.zeros(3, 6, dtype=torch.long),
         **same(TraceError, r"raised RuntimeError .*int64.*\nHint: .*the dtype of the model's")),
    case("wide", mlp, rows().double(),
         **same(TraceError, r"raised RuntimeError .*\nHint: .*dtype")),
    case("no axis", mlp, torch.tensor(1.0), **same(TraceError, r"\(\) float32.*\nHint: .*shape")),
    case("floats for ids", lambda: nn.Embedding(10, 4), IDS.float(),
         **same(TraceError, r"raised RuntimeError .*\nHint: should the example hold integers")),
    case("ids beyond", lambda: nn.Embedding(10, 4), IDS + 10,
         **same(TraceError, r"raised IndexError .*out of range.*\nHint: .*the model's table\?")),
    case("ids below", lambda: nn.Embedding(10, 4), IDS - 10,
         **same(TraceError, r"raised IndexError .*out of range.*\nHint: .*the model's table\?")),
    case("no rows", mlp, rows(0, 6), check=(TraceError, r"the example has no elements: \(0, 6\)")),
    case("on meta", mlp, rows().to("meta"),
         check=(TraceError, r"\nHint: are the example and the model on the same device\?")),
    case("inference tensor", mlp, torch.inference_mode()(rows)()),
    case("one row", mlp, rows(1, 6)),
    case("no batch", mlp, rows(6)),
    case("list", mlp, [rows()], **same(TraceError, r"not list\nHint: a list is one argument")),
    case("array", mlp, rows().numpy(), **same(TraceError, r"ndarray.*\nHint: .*from_numpy\(")),
    case("text", mlp, "hello", **same(TraceError, r"a str without tensors.*\nHint: pass what")),
    case("shape itself", mlp, (3, 6), **same(TraceError, r"\nHint: .*torch\.zeros\(\(3, 6\)\)")),
    case("size itself", mlp, rows().shape, **same(TraceError, r"\nHint: .*zeros\(\(3, 6\)\)")),
    case("nothing", mlp, None, check=(TraceError, r"raised TypeError on the example")),
    case("unknown name", TakesTwo, {"y": rows()},
         **same(TraceError, r"unexpected keyword argument 'y'\nHint: pass a tuple for positional")),
    case("no names", TakesTwo, {0: rows()}, **same(TraceError, r"keywords must be strings\nHint:")),
    case("too few", TakesTwo, (), **same(TraceError, r"missing 1 required positional argument")),
    case("mapping", TakesTwo, Batch(x=rows(), mask=torch.ones(3))),
    case("tuple", TakesTwo, (rows(), torch.ones(3))),
    case("list that is taken", Joined, [rows(), rows()]),
    case("sparse", mlp, rows().to_sparse(),
         **unplanned(TraceError, r"a sparse_coo tensor cannot be traced\nHint: ")),
    # --- Models that are none, or that fail.
    case("dict", lambda: {"a": 1}, rows(),
         **unplanned(PlanError, NO_MODEL.format("a dict"),
                     check=(TraceError, r"a dict was given, expected a torch.nn.Module"))),
    case("class", lambda: nn.Linear, rows(),
         **unplanned(PlanError, r"\nHint: .*this looks like a factory: call it",
                     check=(TraceError, r"a type was given, expected a torch.nn.Module"))),
    case("none", lambda: None, rows(),
         **unplanned(PlanError, NO_MODEL.format("a NoneType"),
                     check=(TraceError, r"a NoneType was given"))),
    case("state dict", lambda: mlp().state_dict(), rows(),
         **unplanned(PlanError, NO_MODEL.format("an OrderedDict"),
                     check=(TraceError, r"\nHint: .*not its class or its state dict"))),
    case("raises", Raises, rows(),
         **same(TraceError, r"raised ValueError .*: not today \\x1b\[31m\n")),
    case("takes gradients", TakesGradients, rows(),
         **unplanned(TraceError, r"\nHint: it takes gradients in its forward")),
    case("opaque", lambda: torch.jit.script(mlp()), rows(), **unplanned(TraceError, SCRIPTED,
         check=(TraceError, r"no op was seen to contract `0\.weight`.*\nHint: scripted"))),
    case("recorded", lambda: torch.jit.trace(mlp(), rows()), rows(), **unplanned(TraceError,
         SCRIPTED, check=(TraceError, r"no op was seen to contract `0\.weight`"))),
    case("opaque part", lambda: nn.Sequential(torch.jit.script(mlp()), nn.Linear(4, 2)), rows(),
         **unplanned(TraceError, rf"`0` is a {SCRIPTED}")),
    case("mapped", Mapped, rows(), check=(TraceError, r"no op was seen to contract")),
    case("too deep", lambda: nested(300), rows(3, 4),
         **same(TraceError, r"raised RecursionError .*\nHint: .*setrecursionlimit")),
    # --- Outputs.
    case("returns none", lambda: Calls(lambda _, __: None), rows(), check=NO_GRADIENT),
    case("returns a dict", lambda: Calls(lambda _, y: {"y": y, "n": 3}), rows()),
    case("returns a dataclass", lambda: Calls(lambda _, y: Output(y)), rows()),
    case("returns a generator", lambda: Calls(lambda _, y: (t for t in [y])), rows(),
         check=NO_GRADIENT),
    case("returns a set", lambda: Calls(lambda _, y: {y}), rows()),
    case("returns integers", lambda: Calls(lambda _, y: y.argmax(-1)), rows(), check=NO_GRADIENT),
    case("returns an array", lambda: Calls(lambda _, y: y.detach().numpy()), rows(),
         check=NO_GRADIENT),
    # --- Parameters.
    case("empty model", nn.Sequential, rows(),
         check=(TraceError, r"no floating-point parameter, so there is nothing to check")),
    case("no parameter", nn.ReLU, rows(), check=(TraceError, r"no floating-point parameter")),
    case("embedding", lambda: nn.Embedding(10, 4), IDS),
    case("frozen", frozen, rows()),
    case("overlap", with_overlap, rows(),
         **unplanned(PlanError, r"`b` \(5, 5\) shares a part of its storage with `a` \(5, 6\)")),
    case("unowned", unowned_on_meta, rows(),
         init=(PlanError, r"1 tensors are on the meta device, are not drawn.*`k`"),
         check=(TraceError, r"`k` \(5,\): the parameter is on the meta device")),
    case("inference parameters", in_inference_mode, rows(),
         init=(WriteError, r"`0\.weight` \(5, 6\): the parameter is an inference tensor"),
         check=(TraceError, r"`0\.weight` \(5, 6\): the parameter is an inference tensor")),
    case("lazy", lambda: nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(4)), rows(),
         init=LAZY, check=(TraceError, r"`0\.weight`: the parameter is lazy")),
    case("lazy buffers", lambda: nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d()),
         rows(2, 3, 8, 8), init=LAZY, check=(TraceError, r"the parameter is lazy")),
    case("lazy without example", lambda: nn.LazyLinear(5), None,
         **unplanned(PlanError, r"`weight`: a lazy parameter has no shape yet\nHint: pass an ex"),
         check=(TraceError, r"the parameter is lazy")),
    case("sparse parameter", sparse_parameter, rows(),
         **unplanned(TraceError, r"`s` \(5, 5\): a sparse_coo parameter cannot be traced\nHint: "),
         check=(TraceError, r"`s` \(5, 5\): the parameter is sparse")),
    case("sparse buffer", sparse_buffer, rows(),
         **unplanned(TraceError, r"`s` \(5, 5\): a sparse_coo buffer cannot be traced")),
    case("compressed buffer", lambda: quietly(sparse_buffer, "csr"), rows(),
         **unplanned(TraceError, r"`s` \(5, 5\): a sparse_csr buffer cannot be traced")),
    case("quantized buffer", quantized_buffer, rows(),
         **unplanned(TraceError, r"`q` \(5, 5\): a qint8 buffer cannot be traced")),
    case("float8", of_float8, rows(),
         init=(DtypeError, r"`a\.weight` \(5, 6\): a float8_e4m3fn parameter cannot be drawn")),
    case("complex", of_complex, rows().to(torch.complex64)),
    case("twice", twice, rows()),
    case("swaps its own", Writes, rows()),
    case("surrogate names", lambda: oddly_named("a\ud800"), rows(),
         init=(StreamError, r"name 'a\\ud800\.weight' is no valid Unicode text")),
    case("compiled", lambda: torch.compile(mlp()), rows()),
    case("parallel", lambda: nn.DataParallel(mlp()), rows()),
    *(case(str(dtype), lambda dtype=dtype: mlp().to(dtype), rows().to(dtype))
      for dtype in (torch.float16, torch.bfloat16, torch.float64)),
    *(case(f"{dtype} on float32", lambda dtype=dtype: mlp().to(dtype), rows(),
           **same(TraceError, r"raised RuntimeError .*\nHint: .*dtype"))
      for dtype in (torch.float16, torch.bfloat16, torch.float64)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "example", "expected"), CASES)
@pytest.mark.parametrize("verb", ["plan", "init", "check"])
def test_bad_input_gets_a_clear_error_or_goes_through(verb, make, example, expected):
    model = quietly(make)
    outcome = expected[("plan", "init", "check").index(verb)]
    if verb == "plan":
        tell(model, outcome, lambda: xavier.plan(model, example))
    elif verb == "check":
        tell(model, outcome, lambda: xavier.check(model, example))
    elif outcome is None:
        assert xavier.init_(model, example, seed=0).seed == 0
    else:
        tell(model, outcome, lambda: xavier.init_(model, example))


def tell(model, outcome, call):
    """Make a call that changes nothing; what it raises must be an error of the right form."""
    with nothing_changes(model):
        if outcome is None:
            return call()
        error, match = outcome
        with pytest.raises(error, match=match) as caught:
            call()
    assert_well_told(caught.value)
    return None


def assert_well_told(error):
    lines = str(error).splitlines()
    assert isinstance(error, XavierError)
    assert any(kind.__module__ == builtins.__name__ and issubclass(kind, Exception)
               and kind is not Exception for kind in type(error).__mro__)  # fmt: skip
    assert len(lines) == 1 + (error.hint is not None)
    assert all(line.isprintable() for line in lines)
    assert error.hint is None or lines[1].startswith("Hint: ")


def refused(error, match, model, *, verb=xavier.init_, **given):
    tell(model, (error, match), lambda: verb(model, **given))


def test_a_fault_of_the_tracer_is_not_laid_on_the_model(monkeypatch):
    from xavier.frameworks.torch import _calls

    monkeypatch.setattr(_calls, "base_name", int)
    match = r"the trace could not follow the model in `0`: TypeError: .*\nHint: .*report this"
    refused(TraceError, match, mlp(), verb=xavier.plan, example=rows())


# --- Treatments that a plan states.


def kept(plan):
    return {each.name: each.reason for each in plan.kept}


def test_parameters_without_elements_or_axes_are_kept_and_listed():
    model = empty_parameters()
    with nothing_changes(model):
        plan = xavier.plan(model, rows())
    assert [each.name for each in plan] == ["a.weight", "a.bias"]
    assert kept(plan)["none"] == kept(plan)["nothing"] == "it has no elements"
    assert "no contraction" in kept(plan)["scalar"]
    xavier.init_(model, rows(), seed=0)
    assert model.scalar == 2
    assert xavier.check(model, rows()).verdict is Verdict.HEALTHY


def test_a_weight_without_elements_is_kept():
    model = quietly(lambda: nn.Sequential(nn.Linear(6, 0), nn.Linear(0, 4)))
    plan = xavier.init_(model, rows(), seed=0)
    assert kept(plan).keys() == {"0.weight", "0.bias", "1.weight"}
    assert set(kept(plan).values()) == {"it has no elements"}
    found = xavier.check(model, rows())
    assert found.verdict is Verdict.HEALTHY
    assert any("has no elements" in note for note in found.signal.notes)


@pytest.mark.parametrize("example", [rows(), None], ids=["example", "none"])
def test_integer_and_truth_parameters_are_kept_and_listed(example):
    model = integers()
    before = model.i.clone()
    plan = xavier.init_(model, example, seed=0)
    assert kept(plan) == dict.fromkeys("ib", "its dtype is not a floating-point one")
    assert torch.equal(model.i, before)


@pytest.mark.parametrize("example", [rows(), None], ids=["example", "none"])
def test_a_quantized_parameter_is_kept_and_listed(example):
    model = quietly(quantized_parameter)
    before = model.q.int_repr().clone()
    plan = xavier.init_(model, example, seed=0)
    assert kept(plan)["q"] == "its dtype is not a floating-point one"
    assert torch.equal(model.q.int_repr(), before)
    with nothing_changes(model):
        xavier.check(model, rows())


@pytest.mark.parametrize("example", [rows(), None], ids=["example", "none"])
def test_packed_quantized_weights_are_named_in_the_plan(example):
    model = quietly(quantized_dynamically)
    plan = xavier.init_(model, example, seed=0)
    assert len(plan) == 0
    assert "`0`, `2`: the weights are quantized and packed; they stay as they are" in plan.notes
    refused(TraceError, r"no floating-point parameter.*\nHint: are its weights quantized", model,
            verb=xavier.check, example=rows())  # fmt: skip


def test_a_model_without_parameters_has_an_empty_plan_that_says_so():
    for model in (nn.Sequential(), nn.ReLU()):
        plan = xavier.init_(model, rows(), seed=0)
        assert len(plan) == 0
        assert "the model has no parameters: there is nothing to draw" in plan.notes


def test_a_frozen_weight_is_drawn_and_stays_frozen():
    model = frozen()
    xavier.init_(model, rows(), seed=0)
    assert not model[0].weight.requires_grad
    law = xavier.plan(mlp(), rows())["0.weight"][0].law
    drawn = xavier.draw(law, (5, 6), seed=0, name="0.weight")
    assert np.array_equal(model[0].weight.numpy(), drawn)


def test_not_a_number_is_drawn_over_and_told_by_check():
    model = with_nan()
    found = xavier.check(model, rows())
    assert found.verdict is Verdict.BROKEN
    assert "nonfinite" in {each.code for each in found.findings}
    xavier.init_(model, rows(), seed=0)
    assert xavier.check(model, rows()).verdict is Verdict.HEALTHY


def test_not_a_number_in_the_example_is_no_fault_of_the_weights():
    found = xavier.check(mlp(), rows() * torch.nan)
    assert found.verdict is Verdict.BROKEN
    assert found.cure == "give an example of finite numbers: of this one nothing else can be said"


def test_half_a_model_on_meta_is_made_whole_and_drawn():
    expected, model = drawn_bits(mlp, seed=0), half_on_meta()
    planned = xavier.plan(mlp(), rows())
    with nothing_changes(model):
        assert xavier.plan(model, rows()) == planned
    xavier.init_(model, rows(), seed=0)
    assert all(map(torch.equal, model.parameters(), expected))


def test_a_complex_weight_has_the_law_over_both_its_parts():
    model = of_complex()
    plan = xavier.init_(model, rows().to(torch.complex64), seed=0)
    assert [each.name for each in plan] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert not model[0].bias.any()


@pytest.mark.parametrize("seed", range(20))
def test_a_default_complex_bias_is_no_deliberate_value(seed):
    torch.manual_seed(seed)
    model = of_complex()
    assert "0.bias" in xavier.plan(model, rows().to(torch.complex64))


def test_lazy_parameters_are_planned_on_a_copy_that_ran_once():
    def make():
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(),
                             nn.LazyLinear(2))  # fmt: skip

    example, model = rows(2, 3, 8, 8), make()
    with nothing_changes(model):
        plan = xavier.plan(model, example)
    assert plan["0.weight"][0].shape == (4, 3, 3, 3)
    assert "`0.weight`, `0.bias`, `1.weight`, 3 more had no shape" in " ".join(plan.notes)
    model(example)
    assert xavier.init_(model, plan=plan, seed=0).digest == plan.digest


def test_a_model_that_writes_to_its_weights_is_left_as_it_was():
    model = WritesInPlace()
    with nothing_changes(model):
        try:
            xavier.plan(model, rows())
        except TraceError as error:
            assert_well_told(error)
    with nothing_changes(model):
        xavier.check(model, rows())


def test_a_module_under_two_names_is_drawn_once():
    plan = xavier.init_(twice(), rows(), seed=0)
    assert [each.name for each in plan] == ["a.weight", "a.bias"]
    assert plan["a.weight"][0].aliases == ("b.weight", "all.0.weight", "all.1.weight")


def test_wrapped_models_draw_the_bits_of_the_model_inside(tmp_path):
    from torch import distributed

    plain = mlp()
    xavier.init_(plain, rows(), seed=0)
    expected = [each.clone() for each in plain.parameters()]
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0,
                                   world_size=1)  # fmt: skip
    try:
        for wrap in (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.compile):
            model = wrap(mlp())
            with nothing_changes(model):
                xavier.plan(model, rows())
            xavier.init_(model, rows(), seed=0)
            assert all(map(torch.equal, model.parameters(), expected))
            with nothing_changes(model):
                assert xavier.check(model, rows()).verdict is Verdict.HEALTHY
    finally:
        distributed.destroy_process_group()


def test_a_thousand_layers_are_planned_drawn_and_checked():
    layers = [each for _ in range(1000) for each in (nn.Linear(8, 8), nn.Tanh())]
    model, example = nn.Sequential(*layers), rows(4, 8)
    assert len(xavier.init_(model, example, seed=0)) == 2000
    assert len(xavier.check(model, example).signal.ops) == 1000


def test_a_nested_model_is_planned():
    assert len(xavier.plan(nested(60), rows(3, 4))) == 120


def test_names_cannot_steer_a_terminal():
    model = oddly_named()
    plan = xavier.init_(model, rows(), seed=0)
    found = xavier.check(model, rows())
    for text in (plan, plan.explain(plan.names[0]), found, found.to_json(), plan.to_toml()):
        assert "\x1b" not in str(text)
    assert xavier.Plan.from_toml(plan.to_toml()) == plan
    with pytest.raises(UnknownNameError) as caught:
        plan.explain("nope")
    assert_well_told(caught.value)


def test_a_scripted_model_is_drawn_by_a_plan_of_the_model():
    plan, scripted = xavier.plan(mlp(), rows()), quietly(torch.jit.script, mlp())
    xavier.init_(scripted, plan=plan, seed=0, scope="scripted.")
    law = plan["0.weight"][0].law
    drawn = xavier.draw(law, (5, 6), seed=0, name="scripted.0.weight")
    assert np.array_equal(scripted.state_dict()["0.weight"].numpy(), drawn)


# --- Arguments.


@pytest.mark.parametrize(
    ("only", "match"),
    [
        ("zzz*", r"'zzz\*' matches no weight of the plan\nHint: names look like 0\.weight"),
        ([], r"only=\[\] matches no weight"),
        (["0.weight", "zzz"], r"'zzz' matches no weight"),
        (lambda name: False, r"only=<function .* matches no weight"),
        (3, r"only is 3, expected names, globs, or a predicate"),
        ([3], r"only is \[3\], expected names"),
        (b"0.weight", r"only is b'0\.weight', expected names"),
    ],
)
def test_a_selection_that_selects_nothing_is_refused(only, match):
    refused(PlanError, match, mlp(), example=rows(), only=only)


def test_a_selection_takes_indices_as_the_table_writes_them_and_every_name_of_a_tied_weight():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    model[11].weight = model[0].weight
    plan = xavier.plan(model, rows(2, 4))
    for only, names in (("[9-10].weight", {"9.weight", "10.weight"}), ("11.weight", {"0.weight"})):
        drawn = xavier.init_(model, plan=plan, only=only, seed=0)
        assert {each.name for each in drawn} == names
        assert len(kept(drawn)) == 23 - len(names)


def test_a_selection_may_name_what_the_plan_keeps():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    missing = ["0.weight", "1.running_mean"]
    assert [each.name for each in xavier.init_(model, rows(), only=missing, seed=0)] == missing[:1]


def test_a_packed_weight_that_is_not_selected_is_kept_whole():
    model = nn.MultiheadAttention(4, 2)
    plan = xavier.init_(model, (rows(3, 1, 4),) * 3, only="out_proj.weight", seed=0)
    assert next(each.shape for each in plan.kept if each.name == "in_proj_weight") == (12, 4)


SEEDS = ["3", 1.5, True, 2**63, -(2**63) - 1, [1], float("nan"), np.uint64(2**64 - 1)]


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_seed_that_is_none_is_refused(seed, device):
    model = mlp().to(device)
    refused(StreamError, r"seed is .*, expected an integer", model, example=rows(), seed=seed)


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), np.int64(7), torch.tensor(8)], ids=repr)
def test_a_seed_of_any_integer_type_is_taken(seed):
    plan = xavier.init_(mlp(), rows(), seed=seed)
    assert plan.seed == int(seed)
    assert type(plan.seed) is int


@pytest.mark.parametrize("scope", [3, b"x", ["a"], "\ud800"], ids=repr)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_scope_that_is_no_text_is_refused(scope, device):
    model = mlp().to(device)
    refused(StreamError, r"name (is|'\\ud800')", model, example=rows(), seed=0, scope=scope)


@pytest.mark.parametrize("scope", ["é", "\x00", "\n", "x" * 10_000, "🙂", "../..", "#imag"])
def test_any_text_is_a_scope(scope):
    assert xavier.init_(mlp(), rows(), seed=0, scope=scope).scope == scope


@pytest.mark.parametrize(
    ("recipe", "hint"),
    [
        ("xaver", "did you mean xavier?"),
        ("HE", "did you mean he?"),
        (" lsuv ", "did you mean lsuv?"),
        ("", "known: auto, default, "),
        ("mup", "known: auto, default, "),
        (3, "known: auto, default, "),
        (nn.Linear, "known: auto, default, "),
    ],
)
@pytest.mark.parametrize("verb", [xavier.plan, xavier.init_, xavier.check])
def test_an_unknown_recipe_gets_the_nearest(verb, recipe, hint):
    match = rf"unknown recipe .*\nHint: {hint.replace('?', '[?]')}"
    refused(UnknownNameError, match, mlp(), verb=verb, example=rows(), recipe=recipe)


@pytest.mark.parametrize("plan", ["text", 3, {}, xavier], ids=str)
def test_what_is_no_plan_is_refused(plan):
    refused(PlanError, r"plan is an? \w+, expected a xavier\.Plan", mlp(), plan=plan, seed=0)


def test_an_empty_plan_draws_nothing():
    model, empty = nn.ReLU(), xavier.plan(nn.ReLU(), rows())
    with nothing_changes(model):
        assert len(xavier.init_(model, rows(), plan=empty, seed=0)) == 0
    refused(PlanError, r"made for another model: that one has no `0\.weight`", mlp(), plan=empty)


OTHERS = [
    (nn.Linear(3, 3), rows(1, 3), r"this one has no `weight`"),
    (nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 4, bias=False)), rows(),
     r"that one has no `0\.bias` \(5,\)"),
    (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), rows(),
     r"`2\.weight` is \(4, 5\) here and \(3, 5\) there"),
    (nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 4)),
     rows(), r"its structure is [0-9a-f]+, this model's is [0-9a-f]+"),
]  # fmt: skip


@pytest.mark.parametrize(("other", "example", "match"), OTHERS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_plan_for_another_model_is_refused_with_the_first_difference(
    other, example, match, device
):
    plan, model = xavier.plan(other, example), mlp().to(device)
    match = rf"the plan was made for another model: {match}\nHint: plan this model"
    refused(PlanError, match, model, plan=plan)


def test_arguments_that_are_no_functions_are_refused():
    refused(PlanError, r"progress is 3, expected a function", mlp(), example=rows(), progress=3)
    refused(PlanError, r"overrides is 5, expected a mapping", mlp(), example=rows(), overrides=5)
    refused(UnknownNameError, r"unknown loss '3'\nHint: known: cross_entropy, mse", mlp(),
            verb=xavier.check, example=rows(), loss=3)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("text", r"the target is a str, expected a tensor for the loss 'mse'"),
        ([1, 2, 3], r"the target is a list, expected a tensor"),
        (torch.zeros(3, 1), r"output has shape \(3, 4\) and the target \(3, 1\), expected equal"),
        (torch.full((3,), 99), r"the loss raised IndexError"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(target, match):
    refused(TraceError, match, mlp(), verb=xavier.check, example=rows(), target=target)


# --- Plans as text.


def edited(before, after):
    text = xavier.plan(mlp(), rows()).to_toml()
    assert before in text
    return text.replace(before, after, 1)


EDITS = [
    ('format = "xavier-plan/1"', 'format = "xavier-plan/7"', r"plan format is 'xavier-plan/7'"),
    ("stream = 1", "stream = 9", r"stream version is 9, expected 1"),
    ("std = 0.426401", "std = -1.0", r"\(0\.weight\)\.law: Normal: std is -1\.0, expected zero"),
    ("std = 0.426401", "std = nan", r"std is nan, expected a finite number"),
    ("std = 0.426401", 'std = "big"', r"std is 'big', expected a finite number"),
    ('law = "Normal"', 'law = "Normla"', r"unknown law 'Normla'\nHint: did you mean Normal"),
    ('role = "input"', 'role = "inptu"', r"role is 'inptu', expected one of input, hidden"),
    (
        'role = "input"',
        'role = "input"\nroel = 3',
        r"unknown key 'roel'\nHint: did you mean 'role'",
    ),
    ('name = "2.weight"', 'name = "0.weight"', r"`0\.weight`: regions \[:\] and \[:\] overlap"),
    ("shape = [5, 6]", "shape = [-5, 6]", r"shape is \[-5, 6\], expected a list of integers"),
    ('recipe = "auto"', 'recipe = "auto"\nseed = "3"', r"seed is '3', expected an integer"),
    ('recipe = "auto"', "recipe = ", r"plan is no valid TOML: .*line"),
    ("model_digest", "digest", r"the key 'model_digest' is missing"),
    ("kept = []", "kept = " + "[" * 3000 + "]" * 3000, r"plan is no valid TOML"),
]


@pytest.mark.parametrize(("before", "after", "match"), EDITS)
def test_a_plan_with_a_slip_in_it_is_refused_with_its_place(before, after, match):
    with pytest.raises(PlanError, match=match) as caught:
        xavier.Plan.from_toml(edited(before, after))
    assert_well_told(caught.value)


@pytest.mark.parametrize("text", [b"format", None, 3])
def test_what_is_no_text_is_no_plan(text):
    with pytest.raises(PlanError, match=r"plan is an? \w+, expected the text of a TOML file"):
        xavier.Plan.from_toml(text)


FITS = [
    (
        'name = "0.weight"',
        'name = "0.wieght"',
        r"`0\.wieght`: the model has no parameter of that name\nHint: did you mean 0",
    ),
    ("shape = [5, 6]", "shape = [6, 5]", r"`0\.weight` \(5, 6\): the plan's region .* \(6, 5\)"),
    ("std = 0.426401", "std = 1e300", r"reaches beyond the range of float32"),
    ('recipe = "auto"', f'recipe = "auto"\nseed = {2**70}', r"seed is \d+, expected an integer in"),
]


@pytest.mark.parametrize(("before", "after", "match"), FITS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_plan_that_cannot_be_carried_out_is_refused_before_anything_is_drawn(
    before, after, match, device
):
    plan = xavier.Plan.from_toml(edited(before, after))
    refused(XavierError, match, mlp().to(device), plan=plan)


def test_a_plan_is_read_with_any_line_ends_and_the_mark_that_editors_write():
    plan = xavier.plan(mlp(), rows())
    assert xavier.Plan.from_toml("\ufeff" + plan.to_toml().replace("\n", "\r\n")) == plan


# --- Interrupts.


def stopping(at, error=KeyboardInterrupt):
    count = 0

    def progress(done, total):
        nonlocal count
        count += 1
        if count == at:
            raise error

    return progress


def drawn_bits(make, **given):
    model = make()
    xavier.init_(model, rows(), **given)
    return [each.detach().clone() for each in model.parameters()]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError("at two")])
def test_an_interrupted_drawing_is_completed_to_the_same_bits(error):
    expected = drawn_bits(mlp, seed=4)
    model = mlp()
    with pytest.raises(WriteError, match=r"drawing stopped .*\nHint: .* seed=4:") as caught:
        xavier.init_(model, rows(), seed=4, progress=stopping(2, error))
    assert_well_told(caught.value)
    xavier.init_(model, plan=caught.value.plan)
    assert all(map(torch.equal, model.parameters(), expected))


def test_a_meta_model_is_on_meta_again_after_an_interrupt():
    expected = drawn_bits(mlp, seed=4)
    model = mlp().to("meta")
    first = next(model.parameters())
    given = {"example": rows(), "seed": 4}
    refused(WriteError, r"1 of 4 parameters are drawn.*; what was on the meta device is there",
            model, progress=stopping(2), **given)  # fmt: skip
    xavier.init_(model, **given)
    assert next(model.parameters()) is first
    assert all(map(torch.equal, model.parameters(), expected))


def test_a_recurrent_meta_model_is_on_meta_again_after_an_interrupt():
    model, example = nn.LSTM(4, 4, device="meta"), rows(2, 3, 4)
    with pytest.raises(WriteError, match="interrupted"):
        xavier.init_(model, example, seed=0, progress=stopping(1))
    assert all(each.is_meta for each in model.parameters())
    xavier.init_(model, example, seed=0)
    assert torch.isfinite(model(example)[0]).all()


def test_an_interrupted_seed_of_the_generator_comes_again():
    model = mlp()
    torch.manual_seed(11)
    with pytest.raises(WriteError, match="interrupted") as caught:
        xavier.init_(model, rows(), progress=stopping(2))
    assert xavier.init_(model, rows()).seed == caught.value.plan.seed
    assert xavier.init_(model, rows()).seed != caught.value.plan.seed


def test_an_interrupt_of_the_forward_is_passed_on_and_changes_nothing():
    for verb in (xavier.plan, xavier.init_, xavier.check):
        for error in (KeyboardInterrupt(), SystemExit(3)):
            model = Raises(error)
            with nothing_changes(model), pytest.raises(type(error)):
                verb(model, rows())


class Refusing(nn.Module):
    """A parametrization whose inverse works once, when it is registered."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def forward(self, weight):
        return weight * 2

    def right_inverse(self, weight):
        self.asked += 1
        if self.asked > 1:
            raise ValueError("no inverse")
        return weight / 2


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_parametrization_that_refuses_the_weight_leaves_the_model_as_it_was(device):
    model = mlp()
    parametrize.register_parametrization(model[0], "weight", Refusing())
    model.to(device)
    match = r"`0\.weight` \(5, 6\): its parametrization Refusing refused .*ValueError: no inverse"
    with pytest.raises(PlanError, match=match):
        xavier.init_(model, rows(), seed=0)
    assert {each.device.type for each in model.parameters()} == {device}


def test_a_model_for_which_there_is_no_memory_stays_on_meta():
    model = nn.Linear(10**7, 10**7, device="meta")
    refused(WriteError, r"400,000,040,000,000 bytes could not be allocated", model, seed=0)


# --- The data-dependent recipe.


class FailsForReal(Calls):
    def forward(self, x):
        if not x.is_meta:
            raise ValueError("a real run")
        return super().forward(x)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_rescaling_that_fails_leaves_the_weights_as_they_were(device):
    given = {"example": rows(), "recipe": "lsuv", "seed": 0}
    refused(TraceError, r"raised ValueError on .*: a real run", FailsForReal().to(device), **given)
    refused(WriteError, r"; the weights are as they were\nHint: call again with seed=0",
            mlp().to(device),
            progress=stopping(3), **given)  # fmt: skip


def test_an_interrupted_rescaling_puts_computed_weights_back_as_well():
    model = nn.Sequential(
        parametrizations.orthogonal(nn.Linear(6, 6)),
        parametrizations.spectral_norm(nn.Linear(6, 5)),
        parametrizations.weight_norm(nn.Linear(5, 5)),
    )
    refused(WriteError, r"interrupted", model, example=rows(), recipe="lsuv", progress=stopping(3))


def test_a_layer_that_cannot_be_rescaled_is_named():
    plan = xavier.init_(mlp(), rows() * torch.nan, recipe="lsuv", seed=0)
    assert any(note.startswith("0.weight: not rescaled") for note in plan.notes)
    refused(PlanError, r"the recipe lsuv needs an example input", mlp(), recipe="lsuv")


# --- Around the call.


EXAMPLE = rows()


@pytest.mark.parametrize(
    "around",
    [
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
        torch.random.fork_rng,
    ],
    ids=["inference", "no grad", "autocast", "meta device", "fork"],
)
def test_the_callers_modes_change_neither_plan_nor_bits(around):
    expected = xavier.plan(mlp(), rows())
    bits = drawn_bits(mlp, seed=0)
    model = mlp()
    with around():
        with nothing_changes(model):
            assert xavier.plan(model, EXAMPLE).digest == expected.digest
        xavier.init_(model, EXAMPLE, seed=0)
        with nothing_changes(model):
            assert xavier.check(model, EXAMPLE).verdict is Verdict.HEALTHY
    assert all(map(torch.equal, model.parameters(), bits))
