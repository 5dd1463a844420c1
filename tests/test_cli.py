"""The command line: what it prints and exits with, and what bad input gets."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import save_file

import xavier
from cli_models import refused, run
from xavier.cli import _github
from xavier.cli._example import InputSpec, parse_input

# --- The group.


def _process(*arguments: str, **extra) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **extra}
    command = [sys.executable, "-P", "-m", "xavier", *arguments]
    return subprocess.run(command, text=True, check=False, **streams)


def _read_all(terminal: int) -> str:
    """Return what a pseudo-terminal has shown, whose other end is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells the end
        while part := os.read(terminal, 1 << 12):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_help_imports_no_framework():
    code = (
        "import sys; from xavier.cli import main; code = main(['--help'], standalone_mode=False);"
        "print(*{n.partition('.')[0] for n in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("plan", "init", "check", "gain", "fans"):
        assert f"  {command} " in done.stdout
    assert not {"torch", "jax", "keras", "numpy", "rich"} & set(done.stderr.split())


@pytest.mark.parametrize("command", ["plan", "init", "check", "gain", "fans"])
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: xavier {command} ")
    assert "--debug" in result.output
    assert "<=" not in result.output


def test_the_help_is_not_clipped_in_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in run("--help").output.replace("[ARGS]...", "")


def test_the_version_is_the_packages():
    assert run("--version").output == f"xavier {xavier.__version__}\n"


def test_the_module_runs_as_a_program():
    done = _process("fans", "300,784")
    assert done.returncode == 0
    assert done.stdout.split()[3:5] == ["784", "300"]


def test_without_a_command_the_help_is_shown():
    result = run()
    assert result.exit_code == 2
    assert "Usage:" in result.output


def test_an_unknown_command_gets_the_nearest():
    assert refused("plna", "x:y") == "Error: unknown command 'plna'\nHint: did you mean plan?"


def test_an_unknown_option_is_misuse():
    assert "no such option '--recipie'" in refused("plan", "x:y", "--recipie", "he")
    assert "Hint: try" in refused("plan", "x:y", "--recipie", "he")


def test_a_missing_target_is_misuse():
    assert "missing argument 'TARGET'" in refused("plan")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_long_run_shows_its_progress_in_a_terminal(folder):
    import pty

    ours, theirs = pty.openpty()
    given = ("init", "models.py:net", "--out", "w.safetensors")
    done = _process(*given, cwd=folder, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = _read_all(ours)
    assert done.returncode == 0
    assert "drawing" in shown
    assert "%" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_an_explanation_fits_the_terminal(folder):
    import pty

    ours, theirs = pty.openpty()
    given = ("plan", "models.py:net", "--explain", "layers.1.weight")
    done = _process(*given, cwd=folder, stdout=theirs, env={**os.environ, "COLUMNS": "60"})
    os.close(theirs)
    lines = _read_all(ours).splitlines()
    assert done.returncode == 0
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
def test_an_output_that_cannot_be_printed_is_told(folder):
    with open("/dev/full", "w") as full:
        done = _process("plan", "models.py:net", cwd=folder, stdout=full)
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(folder):
    command = [sys.executable, "-P", "-m", "xavier", "plan", "models.py:net"]
    with subprocess.Popen(command, cwd=folder, stdout=-1, stderr=-1, text=True) as running:
        running.stdout.close()
        assert "Error" not in running.stderr.read()


# --- Inputs.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8,3,32,32", InputSpec("", "float32", (8, 3, 32, 32), None)),
        ("7", InputSpec("", "float32", (7,), None)),
        ("int:2,16:50257", InputSpec("", "int64", (2, 16), 50257)),
        ("tokens=int32:2,16:5", InputSpec("tokens", "int32", (2, 16), 5)),
        ("mask=bool:2,16", InputSpec("mask", "bool", (2, 16), None)),
        ("bfloat16:1,2", InputSpec("", "bfloat16", (1, 2), None)),
        (" mask = bool : 2, 16 ", InputSpec("mask", "bool", (2, 16), None)),
    ],
)
def test_an_input_is_read_as_written(text, expected):
    assert parse_input(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3,,4", "'3,,4' is no shape"),
        ("", "'' is no shape"),
        ("-3,4", "'-3,4' is no shape"),
        ("3,x", "'3,x' is no shape"),
        ("8,0,3", "'8,0,3' has no elements"),
        ("complex:2", "unknown dtype 'complex'"),
        ("int:2,16", "does not say how far its integers go"),
        ("int:2,16:0", "does not say how far its integers go"),
        ("float:2:7", "float32 takes no upper end"),
        ("3 6", "'3 6' is no shape"),
        ("(3,6)", "'(3,6)' is no shape"),
        ("3x6", "'3x6' is no shape"),
        ("9" * 30, "cannot be made: 999,"),
        ("int:2,16:" + "9" * 30, "an int64 has no 999,"),
        ("int32:2,16:3000000000", "an int32 has no 3,000,000,000 values"),
    ],
)
def test_a_malformed_input_is_refused(folder, text, message):
    said = refused("check", "models.py:silent", "--input", text)
    assert message in said


def test_inputs_either_all_have_names_or_none(folder):
    given = ("--input", "int:2,5:32", "--input", "mask=2,5")
    assert "some of the inputs have names" in refused("check", "models.py:Tied", *given)
    given = ("--input", "mask=2,5", "--input", "mask=2,5")
    assert "two inputs have the same name" in refused("check", "models.py:Tied", *given)


def test_an_input_and_a_batch_exclude_each_other(folder):
    said = refused("check", "models.py:net", "--input", "2,16", "--batch", "x.npz")
    assert "--input and --batch were both given" in said


def test_an_input_that_no_memory_holds_is_refused(folder):
    said = refused("plan", "models.py:net", "--input", "1000000000,1000000,16")
    assert "cannot be made: 16,000,000,000,000,000 elements" in said


def test_check_without_an_input_asks_for_one(folder):
    assert "check needs an input for the model" in refused("check", "models.py:silent")


# --- Targets.


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("models.py", "'models.py' names no function"),
        ("models.py:", "names no function"),
        (":net", "names no function"),
        ("nowhere.py:net", "there is no file 'nowhere.py'"),
        ("nowhere.models:net", "there is no module 'nowhere'"),
        ("models.deeper:net", "there is no module 'models.deeper'"),
        ("models.py:nett", "has no 'nett'"),
        ("models.py:number", "is an int, expected a function that returns a model"),
        ("models.py:no_model", "returned a dict, expected a torch.nn.Module"),
        ("models.py:nothing", "returned None, expected a torch.nn.Module"),
        ("models.py:waits", "returned a coroutine, expected a torch.nn.Module"),
        ("models.py:net.deeper", "`models.py:net` has no 'deeper'"),
        ("models.py:net()", "has no 'net()'"),
        ("models.py:__import__('os')", "has no"),
        ("os:getcwd", "returned a str, expected a torch.nn.Module"),
    ],
)
def test_a_wrong_target_is_misuse(folder, target, message):
    assert message in refused("plan", target, "--input", "2,16")


def test_a_misspelt_target_gets_the_nearest(folder):
    assert "did you mean models.py?" in refused("plan", "model.py:net")
    assert "did you mean net" in refused("plan", "models.py:nett")


def test_a_factory_that_raises_is_a_failure_told_in_one_line(folder):
    said = refused("plan", "models.py:raising", code=3)
    assert "`models.py:raising` raised ValueError: out of luck" in said


def test_a_file_that_cannot_be_imported_is_a_failure(folder):
    (folder / "bad.py").write_text("def f(:\n")
    assert "importing `bad.py` raised SyntaxError" in refused("plan", "bad.py:f", code=3)
    (folder / "bad.py").write_text("import not_there_at_all\n")
    said = refused("plan", "bad.py:f", code=3)
    assert "importing `bad.py` needs 'not_there_at_all'" in said


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ("{depth: 3}", "is no JSON"),
        ("[3]", "is no JSON object"),
        ('{"dpeth": 3}', "unexpected keyword argument 'dpeth'"),
    ],
)
def test_wrong_kwargs_are_misuse(folder, kwargs, message):
    said = refused("plan", "models.py:net", "--kwargs", kwargs)
    assert message in said
    assert "Hint: " in said


def test_arguments_that_a_function_needs_are_named(folder):
    said = refused("plan", "json:loads")
    assert "cannot be called without --kwargs: missing a required argument: 's'" in said
    assert "Hint: it takes s, cls=None" in said


@pytest.mark.parametrize("target", ["ends", "Ends"])
@pytest.mark.parametrize("command", ["plan", "init", "check"])
def test_a_model_that_ends_the_program_is_a_failure_and_no_success(folder, command, target):
    said = refused(command, f"models.py:{target}", code=3)
    assert "the model's code ended the program with SystemExit(0)" in said


def test_what_the_model_prints_does_not_get_between_the_output(folder):
    for command in ("plan", "init", "check"):
        result = run(command, "models.py:prints", "--format", "json")
        assert json.loads(result.stdout)
        assert "building" in result.stderr


def test_nothing_that_is_told_can_steer_a_terminal(folder):
    assert "red \\x1b[31m, bell \\x07" in refused("plan", "models.py:colours", code=3)
    assert "UserWarning: beware \\x1b[31m" in run("plan", "models.py:warns").stderr
    said = refused("init", "models.py:net", "--out", "no\x1b[31m/w.safetensors")
    assert "--out no\\x1b[31m/w.safetensors" in said
    said = refused("plan", "models.py:net", "--kwargs", '{"\\u001b": 1}')
    assert "\x1b" not in said


def test_an_interrupt_has_its_own_exit_code(folder, monkeypatch):
    result = run("plan", "models.py:interrupted")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Error: interrupted"
    from xavier.frameworks.torch import write

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "write_assignment", interrupt)
    result = run("init", "models.py:net", "--out", "w.safetensors")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Error: interrupted"
    assert not (folder / "w.safetensors").exists()


def test_a_model_without_parameters_is_told(folder):
    result = run("plan", "models.py:empty", "--input", "2,3")
    assert "there is nothing to draw" in result.stdout
    said = refused("check", "models.py:empty", "--input", "2,3", code=3)
    assert "there is nothing to check" in said


def test_only_what_was_named_is_imported(folder):
    (folder / "torch.py").write_text("raise SystemExit('a stand-in for torch was imported')\n")
    (folder / "other.py").write_text("raise SystemExit('a bystander was imported')\n")
    done = _process("plan", "models.py:net", cwd=folder)
    assert done.returncode == 0, done.stderr


# --- Models that fail.


def test_a_model_that_raises_is_a_failure(folder):
    said = refused("plan", "models.py:raises", "--input", "2,16", code=3)
    assert "RuntimeError" in said
    assert "not today" in said
    assert "not today" in refused("check", "models.py:raises", "--input", "2,16", code=3)


@pytest.mark.parametrize("wrong", ["2,17", "int:2,16:4", "float64:2,16"])
def test_an_input_that_does_not_fit_is_a_failure(folder, wrong):
    refused("check", "models.py:net", "--input", wrong, code=3)


def test_debug_prints_the_traceback(folder):
    result = run("plan", "models.py:raising", "--debug")
    assert result.exit_code == 3
    assert "Traceback (most recent call last)" in result.stderr
    assert "out of\nluck" in result.stderr
    assert result.stderr == run("--debug", "plan", "models.py:raising").stderr


# --- plan.


def test_plan_prints_what_the_library_plans(folder):
    result = run("plan", "models.py:net", "--format", "json")
    assert result.exit_code == 0, result.output
    made = xavier.Plan.from_dict(json.loads(result.stdout))
    assert made.recipe == "auto"
    assert [each.name for each in made][:2] == ["layers.0.weight", "layers.0.bias"]
    assert made["layers.1.weight"][0].fed_by == "tanh"


def test_a_module_a_file_a_class_and_a_model_are_the_same_target(folder):
    printed = {
        run("plan", target, "--format", "json").stdout
        for target in ("models:net", "models.py:net", "models.py:Net", "models.py:ready")
    }
    assert len(printed) == 1


def test_kwargs_reach_the_factory(folder):
    result = run("plan", "models.py:net", "--kwargs", '{"depth": 5}', "--format", "json")
    assert "layers.4.weight" in xavier.Plan.from_dict(json.loads(result.stdout))


def test_the_plan_in_the_terminal_names_every_weight(folder):
    result = run("plan", "models.py:Tied", "--input", "int:2,5:32")
    assert result.exit_code == 0
    assert "table.weight" in result.stdout
    assert "\x1b" not in result.stdout


def test_plan_explains_a_weight(folder):
    result = run("plan", "models.py:net", "--explain", "layers.1.weight")
    assert "tanh" in result.stdout
    assert len(result.stdout.splitlines()) == 1
    said = refused("plan", "models.py:net", "--explain", "layers.1.weigth")
    assert "did you mean" in said


def test_a_meta_model_has_the_same_plan(folder):
    real = run("plan", "models.py:net", "--format", "toml", "--input", "8,16")
    meta = run("plan", "models.py:net", "--format", "toml", "--input", "8,16", "--meta")
    assert meta.exit_code == 0, meta.output
    assert meta.stdout == real.stdout


def test_an_unknown_recipe_gets_the_nearest(folder):
    said = refused("plan", "models.py:net", "--recipe", "xaver")
    assert said == "Error: unknown recipe 'xaver'\nHint: did you mean xavier?"
    assert "did you mean he?" in refused("init", "models.py:net", "--recipe", "HE")
    assert "unknown recipe ''" in refused("check", "models.py:net", "--recipe", "")


def test_the_recipe_that_needs_an_input_asks_for_one(folder):
    said = refused("init", "models.py:silent", "--recipe", "lsuv")
    assert "the recipe lsuv needs an input for the model" in said
    assert "Hint: give one, such as --input" in said


@pytest.mark.parametrize(
    ("seed", "message"), [("abc", "'abc' is no integer"), ("9" * 20, "has more than 64 bits")]
)
def test_a_seed_that_is_none_is_misuse(folder, seed, message):
    assert message in refused("plan", "models.py:net", "--seed", seed)


def test_a_scope_that_is_no_text_is_misuse(folder):
    assert "no valid Unicode" in refused("init", "models.py:net", "--scope", "\udcff")


def test_without_an_input_the_plan_is_by_module(folder):
    result = run("plan", "models.py:silent", "--format", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["notes"]


# --- check.


def test_check_exits_with_the_verdict(folder):
    healthy = run("check", "models.py:net")
    assert healthy.exit_code == 0, healthy.output
    assert "healthy" in healthy.stdout.lower()
    assert "seed 0; input: the model's own example" in healthy.stderr
    sick = run("check", "models.py:tiny_weights")
    assert sick.exit_code == 1
    assert "vanishing" in sick.stdout.lower()


def test_check_after_init_is_healthy(folder):
    kwargs = ("--kwargs", '{"depth": 6}')
    assert run("init", "models.py:net", *kwargs, "--out", "w.safetensors").exit_code == 0
    given = ("--weights", "w.safetensors", "--recipe", "auto", "--format", "json")
    result = run("check", "models.py:net", *kwargs, *given)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verdict"] == "healthy"


def test_check_judges_the_written_weights_and_not_the_models_own(folder):
    sys.path.append(str(folder))
    import models

    save_file(models.tiny_weights().state_dict(), folder / "w.safetensors")
    given = ("--kwargs", '{"depth": 40}', "--weights", "w.safetensors", "--format", "json")
    result = run("check", "models.py:net", *given)
    assert json.loads(result.stdout)["verdict"] == "vanishing"


def test_weights_of_another_model_are_misuse(folder):
    run("init", "models.py:net", "--out", "w.safetensors")
    kwargs = ("--kwargs", '{"depth": 4}')
    said = refused("check", "models.py:net", *kwargs, "--weights", "w.safetensors")
    assert "--weights w.safetensors does not fit" in said
    said = refused("check", "models.py:net", "--weights", "missing.safetensors")
    assert "--weights missing.safetensors: there is no such file" in said


def test_strict_counts_warnings_as_well(folder):
    given = ("check", "models.py:net", "--recipe", "he", "--format", "json")
    relaxed, strict = run(*given), run(*given, "--strict")
    severities = {each["severity"] for each in json.loads(relaxed.stdout)["findings"]}
    assert "warning" in severities
    assert "error" not in severities
    assert (relaxed.exit_code, strict.exit_code) == (0, 1)


def test_the_json_is_the_librarys_and_nothing_else(folder):
    result = run("check", "models.py:net", "--format", "json")
    found = json.loads(result.stdout)
    assert found["format"] == "xavier-check/1"
    assert len(found["signal"]["ops"]) == 4


def test_annotations_name_the_verdict_and_every_finding(folder):
    result = run("check", "models.py:tiny_weights", "--format", "github")
    first, *rest = result.stdout.splitlines()
    assert first.startswith("::error title=xavier%3A vanishing at layers.")
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in rest)
    assert result.exit_code == 1


def test_annotations_escape_what_would_end_them():
    line = _github._line("error", "a: b, c", "100 %\nnext")
    assert line == "::error title=xavier%3A a%3A b%2C c::100 %25%0Anext"


# --- fans and gain.


def test_fans_prints_what_the_frameworks_count_otherwise():
    lines = run("fans", "128,64,3,3", "--stride", "2").stdout.splitlines()
    assert lines[1].split() == ["xavier", "576", "288"]
    assert lines[2].split() == ["torch", "576", "1152", "differs"]


@pytest.mark.parametrize(
    ("arguments", "fan_in", "fan_out"),
    [
        (("300,784",), 784, 300),
        (("784,300", "--transposed"), 784, 300),
        (("50257,768", "--embedding"), 1, 768),
        (("64,1,3,3", "--groups", "64"), 9, 9),
        (("64,32,4,4", "--transposed", "--stride", "2,2"), 256, 512),
    ],
)
def test_fans_of_a_stored_shape(arguments, fan_in, fan_out):
    found = json.loads(run("fans", *arguments, "--format", "json").stdout)
    assert found["fans"]["xavier"] == {"fan_in": fan_in, "fan_out": fan_out}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("128,x",), "SHAPE '128,x' is no list of sizes"),
        (("128",), "has no fans, expected at least 2 axes"),
        (("3,4,5", "--embedding"), "is no lookup table"),
        (("0,4",), "0"),
        (("4,4,3,3", "--stride", "a"), "--stride 'a' is no list of sizes"),
        (("4,4,3", "--stride", "1,2"), "(1, 2) has 2 numbers, expected 1, as the kernel has"),
        (("4,4", "--stride", "2"), "--stride is for a convolution, and (4, 4) is a dense weight"),
        (("4,4", "--groups", "2"), "--groups is for a convolution"),
        (("4,4", "--embedding", "--dilation", "2"), "is a lookup table"),
        (("4,4", "--embedding", "--transposed"), "--embedding and --transposed were both given"),
    ],
)
def test_a_shape_without_fans_is_misuse(arguments, message):
    assert message in refused("fans", *arguments)


def test_gain_prints_what_the_library_computes():
    result = run("gain", "tanh", "relu", "--format", "json")
    assert result.exit_code == 0, result.output
    tanh, relu = json.loads(result.stdout)
    assert tanh["gain"] == pytest.approx(xavier.gain("tanh"))
    assert relu["gain"] == pytest.approx(2**0.5)
    assert "1.41421" in run("gain", "relu").stdout


def test_an_unknown_activation_gets_the_nearest():
    assert "did you mean" in refused("gain", "tahn")
    assert "missing argument 'NAME...'" in refused("gain")
