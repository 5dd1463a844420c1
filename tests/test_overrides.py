"""The user's own rules: which weights they are about, and what the others make of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import xavier
from xavier import Constant, Normal, rules
from xavier._errors import PlanError, UnknownNameError
from xavier._types.plan import Role
from xavier.frameworks.torch.trace import trace
from xavier.planning.override_matching import Override, compile_overrides, glob
from xavier.planning.prediction import predict

WIDTH = 48
LAW = Normal(0.0, 0.5)
BATCH = torch.zeros(4, WIDTH)


def stack(between, *, bias=True):
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH, bias=bias),
        between(),
        nn.Linear(WIDTH, WIDTH, bias=bias),
        nn.Tanh(),
        nn.Linear(WIDTH, 10, bias=bias),
    )


def planned(overrides=None, model=None, example=BATCH, **options):
    return xavier.plan(model or stack(nn.Tanh), example, overrides=overrides, **options)


def changed(overrides, model=None, example=BATCH):
    """Return the names whose law an override changed itself, not by way of what it computes."""
    return {row.name for row in planned(overrides, model, example) if "override" in row.reason}


class Branched(nn.Module):
    """A residual branch between two norms, tied tables, and things that are kept."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, WIDTH)
        self.up = nn.Linear(WIDTH, WIDTH, bias=False)
        self.down = nn.Linear(WIDTH, WIDTH)
        nn.init.zeros_(self.down.weight)
        self.gain = nn.Parameter(torch.full((WIDTH,), 0.5))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 20, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mask", torch.ones(3))

    def forward(self, ids):
        x = self.table(ids)
        x = x + self.gain * self.down(torch.relu(self.up(x)))
        return self.head(self.norm(x))


IDS = torch.zeros(2, 3, dtype=torch.long)


# What a match is about


@pytest.mark.parametrize(
    ("match", "names"),
    [
        ("2.weight", {"2.weight"}),
        ("*.weight", {"0.weight", "2.weight", "4.weight"}),
        ("[0,2].weight", {"0.weight", "2.weight"}),
        ("[0-4].bias", {"0.bias", "2.bias", "4.bias"}),
        ("[0,2,..,6].bias", {"0.bias", "2.bias", "4.bias"}),
        ("?.weight", {"0.weight", "2.weight", "4.weight"}),
        ("type:Linear", {"0.weight", "2.weight", "4.weight"}),
        ("type:Lin*", {"0.weight", "2.weight", "4.weight"}),
        ("role:head", {"4.weight"}),
        ("role:bias", {"0.bias", "2.bias", "4.bias"}),
        (lambda row: row.fan_out == 10, {"4.weight"}),
        (lambda row: row.followed_by == "tanh", {"0.weight", "2.weight"}),
        (lambda row: row.predicted_q < 0.3, {"4.weight"}),
    ],
)
def test_match_is_about_these_weights(match, names):
    assert changed({match: LAW}) == names


def test_overridden_weight_has_the_law_and_says_who_asked():
    row = planned({"2.weight": LAW})["2.weight"][0]
    assert row.law == LAW
    assert row.rule == "Fixed(Normal(mean=0.0, std=0.5))"
    assert row.reason == "by the override '2.weight', in place of XavierExact()"


def test_the_last_match_wins():
    plan = planned({"*.weight": Normal(0, 1), "role:head": Normal(0, 2), "4.*": Normal(0, 3)})
    assert [plan[f"{at}.weight"][0].law.std for at in (0, 2, 4)] == [1, 1, 3]
    assert planned({"4.*": Normal(0, 3), "*.weight": LAW})["4.weight"][0].law == LAW


def test_pairs_and_override_objects_serve_as_well_as_a_mapping():
    for given in ([("2.weight", LAW)], [Override("2.weight", LAW)], (["2.weight", LAW],)):
        assert planned(given).digest == planned({"2.weight": LAW}).digest


def test_a_predicate_sees_what_the_recipe_would_do():
    seen = {}

    def everything(row):
        seen[row.name] = row
        return False

    with pytest.raises(PlanError, match=r"override {everything: .*} matches nothing"):
        planned({everything: LAW})
    assert seen == {row.name: row for row in planned()}


def test_any_name_of_a_tied_weight_matches_it():
    assert changed({"head.weight": LAW}, Branched(), IDS) == {"table.weight"}


def test_a_rule_says_nothing_of_a_bias_and_a_law_does():
    assert changed({"*": rules.He()}) == {"0.weight", "2.weight", "4.weight"}
    assert len(changed({"*": LAW})) == 6


def test_a_rule_is_given_by_its_class_or_its_name():
    for rule in (rules.XavierExact(), "XavierExact", "xavier_exact", "xavierexact"):
        assert planned({"2.weight": rule})["2.weight"][0].rule == "XavierExact()"


def test_the_frameworks_default_is_a_rule_like_others():
    row = planned({"2.weight": "framework_default"})["2.weight"][0]
    assert row.law == planned(recipe="default")["2.weight"][0].law
    assert row.law.high == pytest.approx(1 / math.sqrt(WIDTH), rel=1e-5)


def test_a_block_of_a_packed_weight_is_overridden_alone():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(WIDTH)
            self.both = nn.Linear(WIDTH, 2 * WIDTH)
            self.out = nn.Linear(WIDTH, 5)

        def forward(self, x):
            a, b = self.both(self.norm(x)).chunk(2, -1)
            return self.out(torch.sigmoid(a) * b)

    plain = planned(None, Packed())["both.weight"]
    lower = lambda row: row.region.axis == 0 and row.region.ranges[0][0] == WIDTH
    first, second = planned({lower: LAW}, Packed())["both.weight"]
    assert first == plain[0]
    assert second.law == LAW


def test_a_part_of_a_bias_is_overridden_alone():
    forget = lambda row: row.role == "bias" and row.law == Constant(1)
    model, x = nn.LSTM(8, 8, batch_first=True), torch.zeros(2, 5, 8)
    rows = planned({forget: Constant(3)}, model, x)["bias_ih_l0"]
    assert [(str(row.region), row.law.value) for row in rows] == [("[0:8+16:32]", 0), ("[8:16]", 3)]


def test_a_convolution_can_be_delta_orthogonal():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    plan = planned({"2.weight": rules.DeltaOrthogonal()}, model, torch.zeros(1, 3, 9, 9))
    assert plan["2.weight"][0].law == xavier.DeltaOrthogonal(1.0)


def test_the_order_of_the_model_stays():
    model = Branched()
    names = [name for name, _ in model.named_parameters()]
    plan = planned({"gain": LAW, "down.weight": LAW, "up.weight": "keep"}, model, IDS)
    assert [row.name for row in plan] == [name for name in names if name != "up.weight"]
    assert [each.name for each in plan.kept] == ["up.weight", "mask"]


# What is kept, and what is no longer


def test_keep_leaves_a_parameter_as_it_is():
    model = stack(nn.Tanh)
    before = model[2].weight.detach().clone()
    plan = xavier.init_(model, BATCH, seed=0, overrides={"2.weight": "keep"})
    assert not plan["2.weight"]
    assert plan.explain("2.weight").endswith("keeps its value: by the override '2.weight'.")
    assert torch.equal(model[2].weight, before)


def test_a_kept_packed_weight_is_listed_once_with_its_own_shape():
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.zeros(2, 5, 8)
    plan = planned({"in_proj_weight": "keep"}, model, {"query": x, "key": x, "value": x})
    assert [(each.name, each.shape) for each in plan.kept] == [("in_proj_weight", (24, 8))]


def test_a_part_of_a_parameter_cannot_be_kept():
    model = nn.LSTM(8, 8, batch_first=True)
    gate = lambda row: row.name == "weight_ih_l0" and row.region.ranges[0][0] == 0
    message = r"`weight_ih_l0`: \{<lambda>: 'keep'\} keeps a part of it, but \[.*\] would be drawn"
    with pytest.raises(PlanError, match=message) as caught:
        planned({gate: "keep"}, model, torch.zeros(2, 5, 8))
    assert caught.value.hint == "match the whole parameter by its name"


def test_what_stands_behind_a_kept_weight_counts_the_values_that_it_holds():
    model = stack(nn.Tanh)
    nn.init.normal_(model[0].weight, std=3 / math.sqrt(WIDTH))
    second = float(model[0].weight.detach().double().square().mean())
    like = planned({"0.weight": Normal(0, math.sqrt(second))}, model)["2.weight"][0]
    behind = planned({"0.weight": "keep"}, model)["2.weight"][0]
    assert behind.forward_power == pytest.approx(like.forward_power, rel=1e-5)
    assert behind.forward_power > 1.5 * planned(None, model)["2.weight"][0].forward_power


def test_behind_a_kept_weight_of_unknown_values_it_is_as_if_the_recipe_had_drawn_it():
    with torch.device("meta"):
        model = stack(nn.Tanh)
    kept = planned({"0.weight": "keep"}, model)["2.weight"][0]
    assert kept == planned(None, model)["2.weight"][0]


def test_the_whole_name_of_a_zero_weight_revives_it_with_its_fans():
    reasons = {each.name: each.reason for each in planned(None, Branched(), IDS).kept}
    assert reasons["down.weight"].startswith("it arrived as zeros, and the signal goes around it")
    row = planned({"down.weight": "he"}, Branched(), IDS)["down.weight"][0]
    assert (row.role, row.fan_in, row.rule) == (Role.RESIDUAL, WIDTH, "He()")
    assert row == planned({"down.weight": "he"}, Branched(), IDS, overwrite_zeros=True)[row.name][0]


def test_the_whole_name_of_any_kept_parameter_revives_it_with_a_law():
    model = Branched()
    plan = xavier.init_(model, IDS, seed=0, overrides={"gain": Constant(0.125)})
    assert plan["gain"][0].role is Role.OTHER
    assert plan["gain"][0].reason.startswith("by the override 'gain'; else it would keep its value")
    assert (model.gain == 0.125).all()


def test_a_glob_leaves_kept_parameters_alone():
    assert "gain" not in changed({"*": LAW}, Branched(), IDS)


def test_keeping_what_is_kept_changes_nothing():
    plan = planned({"gain": "keep"}, Branched(), IDS)
    assert plan == planned(None, Branched(), IDS)


def test_an_expert_that_no_token_reached_has_its_own_override():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

        def forward(self, x):
            return torch.tanh(self.experts[0](x))

    x = torch.zeros(2, 8)
    assert changed({"experts.2.weight": LAW}, Experts(), x) == {"experts.2.weight"}
    assert changed({"experts.0.weight": LAW}, Experts(), x) == {"experts.0.weight"}
    assert len(changed({"experts.*.weight": LAW}, Experts(), x)) == 3


def test_a_plan_without_an_example_takes_overrides_too():
    plan = planned({"2.weight": LAW, "0.bias": Constant(1), "role:hidden": "he"}, example=None)
    rules_given = [plan[name][0].rule for name in ("0.weight", "2.weight", "0.bias")]
    assert rules_given == ["He()", "He()", "Fixed(Constant(value=1.0))"]


def test_the_padding_row_stays_zero():
    model = nn.Sequential(nn.Embedding(9, 4, padding_idx=2), nn.Linear(4, 3))
    plan = planned({"0.weight": LAW}, model, IDS)
    assert [(str(row.region), row.law) for row in plan["0.weight"]] == [
        ("[0:2+3:9]", LAW),
        ("[2:3]", Constant(0.0)),
    ]


def test_lsuv_leaves_a_law_alone_that_was_asked_for():
    x = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    plan = xavier.init_(stack(nn.Tanh), x, seed=0, recipe="lsuv", overrides={"2.weight": LAW})
    assert plan["2.weight"][0].law == LAW
    assert "unit variance" in plan["4.weight"][0].reason


# What the others make of it


@pytest.mark.parametrize(
    ("between", "changes"),
    [(nn.Tanh, True), (nn.GELU, True), (nn.ReLU, False), (lambda: nn.LayerNorm(WIDTH), False)],
    ids=["tanh", "gelu", "relu", "layer norm"],
)
def test_a_first_layer_of_doubled_std_changes_the_next_law_where_no_scale_free_function_is_between(
    between, changes
):
    plain = planned(None, stack(between))
    twice = Normal(0.0, 2 * plain["0.weight"][0].law.std)
    after = planned({"0.weight": twice}, stack(between))["2.weight"][0]
    assert (after.law != plain["2.weight"][0].law) == changes


@pytest.mark.parametrize(
    "overrides",
    [
        {"0.weight": Normal(0.0, 0.4)},
        {"0.weight": Normal(0.2, 0.3)},
        {"role:hidden": "heuristic"},
        {"0.bias": Normal(0.0, 2.0)},
        {"0.bias": Constant(0.7), "2.weight": rules.ForwardGain("uniform")},
        {"*.weight": Normal(0.0, 0.25)},
    ],
    ids=str,
)
def test_what_is_predicted_under_overrides_is_what_their_laws_give(overrides):
    model = stack(nn.Tanh)
    plan = planned(overrides, model)
    flow = trace(model, BATCH)
    found = {flow.ops[at].weights[0].parameter: q.second for at, q in predict(flow, plan).items()}
    for row in plan:
        if row.name.endswith("weight"):
            assert row.predicted_q == pytest.approx(found[row.name], rel=1e-6)


def test_what_is_predicted_behind_an_override_is_what_is_measured():
    seeds, batch = 24, torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    overrides = {"0.weight": Normal(0.0, 2 / math.sqrt(WIDTH)), "0.bias": Normal(0.0, 1.0)}
    plan = planned(overrides)
    sizes = []
    for seed in range(seeds):
        model = stack(nn.Tanh)
        xavier.init_(model, batch, seed=seed, plan=plan)
        with torch.no_grad():
            sizes.append(float(model[:3](batch).square().mean()))
    mean = sum(sizes) / seeds
    error = math.sqrt(sum((each - mean) ** 2 for each in sizes) / (seeds - 1) / seeds)
    predicted = plan["2.weight"][0].predicted_q
    # Beside the standard error, finite width bends tanh's length map by the order of 5 / width.
    assert mean == pytest.approx(predicted, abs=4 * error + 5 / WIDTH * predicted)
    assert predicted > 1.2 * planned()["2.weight"][0].predicted_q


def test_a_norms_overridden_scale_counts_for_what_comes_after():
    model = stack(lambda: nn.LayerNorm(WIDTH))
    row = planned({"role:scale": Constant(3)}, model)["2.weight"][0]
    assert row.forward_power == 9
    nn.init.constant_(model[1].weight, 0.5)
    assert planned({"1.weight": "keep"}, model)["2.weight"][0].forward_power == 0.25


def test_a_kept_bias_counts_with_the_values_that_it_holds():
    model = stack(nn.Tanh)
    nn.init.uniform_(model[0].bias, -0.1, 0.1)
    kept = planned({"0.bias": "keep"}, model)["2.weight"][0].forward_power
    zero, drawn = (
        planned({"0.bias": law}, model)["2.weight"][0].forward_power
        for law in (Constant(0), Normal(0, float(model[0].bias.detach().square().mean().sqrt())))
    )
    assert zero < kept == pytest.approx(drawn, rel=1e-2)


def test_a_revived_parameter_counts_for_what_comes_after():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.full((WIDTH,), 0.1))
            self.out = nn.Linear(WIDTH, 10)

        def forward(self, x):
            return self.out(self.gain * x)

    plain = planned(None, Scaled())["out.weight"][0]
    after = planned({"gain": Constant(2)}, Scaled())["out.weight"][0]
    assert plain.forward_power == pytest.approx(0.01)
    assert after.forward_power == pytest.approx(4)


def test_without_overrides_nothing_is_different():
    assert planned({}) == planned(None) == planned()
    assert planned().notes == ()
    assert planned({"2.weight": LAW}).notes == ("1 of 6 regions by override",)


# What cannot be done


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        ({"9.weight": LAW}, "override {'9.weight': Fixed", r"nearest names: .*weight"),
        ({"type:Linar": LAW}, "override {'type:Linar': ", "module types with parameters: Linear"),
        ({"role:tied": LAW}, "override {'role:tied': ", "roles in this plan: bias, head, hidden,"),
        ({lambda row: False: LAW}, "override {<lambda>: ", "the predicate was false for every"),
        (
            {"0.bias": rules.He()},
            r"override {'0.bias': He\(\)} matches nothing",
            r"the names that match have no fans for He\(\); give a law",
        ),
        (
            {"2.weight": rules.DeltaOrthogonal()},
            rf"`2.weight` \({WIDTH}, {WIDTH}\): DeltaOrthogonal\(\) cannot be applied: .*no kernel",
            "use Orthogonal for a weight that is no convolution",
        ),
        (
            {"2.weight": xavier.Dirac()},
            rf"`2.weight` \({WIDTH}, {WIDTH}\): Fixed\(Dirac\(groups=1\)\) cannot be applied: ",
            r"change the override {'2.weight': Fixed\(Dirac\(groups=1\)\)}",
        ),
        (
            {"0.bias": xavier.Orthogonal()},
            rf"`0.bias` \({WIDTH},\): Fixed\(Orthogonal\(gain=1.0\)\) cannot be applied: ",
            "change the override",
        ),
        (
            {"2.weight": rules.VarianceScaling(mode="fan_avg", scale=-1.0)},
            r"cannot be applied: scale is -1.0, expected a positive number",
            "change the override",
        ),
    ],
)
def test_an_override_that_cannot_be_followed_is_refused(overrides, message, hint):
    with pytest.raises(PlanError, match=f"{message}.*\nHint: {hint}"):
        planned(overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mask": LAW}, r"`mask` \(3,\) is a buffer, expected a parameter"),
        (
            {"gain": rules.He()},
            r"`gain` \(48,\) has no fans for He\(\), since no contraction.*\n.*give a law",
        ),
        ({"gai*": LAW}, r"matches nothing\n.*keeps, such as gain: write the whole name"),
        ({"gain": xavier.Identity()}, r"`gain` \(48,\): Fixed\(Identity.* cannot be applied"),
    ],
)
def test_what_is_kept_is_not_revived_by_anything_less(overrides, message):
    with pytest.raises(PlanError, match=message):
        planned(overrides, Branched(), IDS)


def test_the_law_that_a_constraint_imposes_cannot_be_overridden_and_can_be_kept():
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH)), nn.Linear(WIDTH, 5)
    )
    with pytest.raises(PlanError, match=r"spectral_norm settles the law of 0\.weight, whatever"):
        planned({"0.weight": LAW}, model)
    assert changed({"*.weight": LAW}, model) == {"1.weight"}
    kept = planned({"0.weight": "keep"}, model).kept
    assert [each.reason for each in kept if each.name == "0.weight"] == [
        "by the override '0.weight'"
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.weight", "overrides is '0.weight', expected a mapping or a list of pairs"),
        (Override("a", LAW), "overrides is Override.*, expected a mapping or a list of pairs"),
        (["ab"], "override is 'ab', expected a pair of match and value"),
        ([("a", LAW, 3)], r"override is \('a', .*, 3\), expected a pair of match and value"),
        ({3: LAW}, "override matches by 3, expected a string or a predicate"),
        ({"a": 3}, r"override's value is 3, expected a law or a rule\nHint: such as Normal"),
        ({"a": None}, "override's value is None, expected a law or a rule"),
        ({"a.[0-10000].b": LAW}, r"'\[0-10000\]' has 10,001 indices, expected at most 10,000"),
        (
            {"[0-999999999999999999]": LAW},
            "has 1,000,000,000,000,000,000 indices, expected at most 10,000",
        ),
    ],
)
def test_overrides_of_another_form_are_refused(given, message):
    with pytest.raises(PlanError, match=message):
        planned(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"role:haed": LAW}, r"unknown role 'haed'\nHint: did you mean head"),
        ({"a": "xavierr"}, r"unknown rule 'xavierr'\nHint: did you mean .*Xavier"),
        ({"a": "keeep"}, r"unknown rule 'keeep'\nHint: did you mean keep"),
        ({"a": "fixed"}, r"unknown rule 'fixed'"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(given, message):
    with pytest.raises(UnknownNameError, match=message):
        planned(given)


def test_overrides_are_read_before_the_model_runs():
    class Loud(nn.Module):
        def forward(self, x):
            raise AssertionError

    with pytest.raises(UnknownNameError, match="unknown rule"):
        planned({"a": "nothing"}, Loud())


def test_messages_escape_what_a_name_may_do_to_a_terminal():
    model = nn.Module()
    model.register_parameter("red\x1b[31m\n", nn.Parameter(torch.full((WIDTH,), 2.0)))
    model.forward = lambda x: x * model.get_parameter("red\x1b[31m\n")
    for given in ({"red*": LAW}, {"red\x1b[31m\n": "he"}, {"ret": LAW}):
        with pytest.raises(PlanError) as caught:
            planned(given, model)
        assert "\x1b" not in str(caught.value)
        assert r"red\x1b[31m\n" in str(caught.value)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a.*", "a.b.c", True),
        ("a.?", "a.bc", False),
        ("a.[5-3].b", "a..b", False),
        ("a.[5-3].b", "a.[5-3].b", True),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", False),
        ("a.[0-3]", "a.03", False),
        ("a+b", "a+b", True),
        ("a\nb", "a\nb", True),
        ("*", "a\nb", True),
    ],
)
def test_pattern_fits_a_name(pattern, name, fits):
    assert bool(glob(pattern).fullmatch(name)) == fits


def test_an_override_prints_as_its_entry():
    one, two = compile_overrides({"*.bias": Constant(0), len: "keep"})
    assert str(one) == "{'*.bias': Fixed(Constant(value=0.0))}"
    assert str(two) == "{len: 'keep'}"
    assert (one.exact, two.exact) == (False, False)
    assert compile_overrides(None) == ()


def test_a_predicate_that_raises_is_named():
    def faulty(row):
        return 1 / (row.fan_in - row.fan_in)

    with pytest.raises(PlanError, match=r"faulty.*predicate raised ZeroDivisionError"):
        xavier.plan(nn.Linear(4, 3), torch.ones(2, 4), overrides={faulty: Normal(0.0, 0.1)})
