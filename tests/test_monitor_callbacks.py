"""A monitor as a callback of Lightning and of the Trainer of transformers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import xavier
import xavier.torch
from xavier.monitoring import read

# Each is a library's own use of a name that another is about to lose.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*' does not have many workers"),
]


def seeded_data(rows: int = 24) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(rows, 8, generator=generator), torch.randint(3, (rows,), generator=generator)
    )


def lightning_module(*, fails_at: int | None = None):
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
            self.losses = []

        def training_step(self, batch, batch_idx):
            loss = cross_entropy(self.net(batch[0]), batch[1])
            if batch_idx == fails_at:
                raise ValueError("the data ran dry")
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch, batch_idx):
            self.net(batch[0])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    return Module()


def fit(module, folder, callbacks, *, resumed_from=None, **settings):
    import lightning.pytorch as lightning

    trainer = lightning.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, callbacks=callbacks,
        enable_progress_bar=False, enable_model_summary=False, barebones=False,
        **{"max_epochs": 2, "enable_checkpointing": False, **settings},
    )  # fmt: skip
    data = DataLoader(seeded_data(), batch_size=4)
    trainer.fit(module, data, data, ckpt_path=resumed_from)
    return trainer


def hooks_of(model: nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


def test_lightning_s_training_is_sampled_and_stays_the_same(tmp_path):
    file = tmp_path / "signal.jsonl"
    callback = xavier.torch.LightningMonitor(xavier.Monitor(every=5, to=file))
    module, twin = lightning_module(), lightning_module()
    fit(module, tmp_path, [callback])
    fit(twin, tmp_path, [])
    assert module.losses == twin.losses
    samples = read(file)
    assert [sample.step for sample in samples] == [0, 5, 10]
    for sample in samples:
        assert [op.path for op in sample.signal.ops] == ["net.0", "net.2"]
        assert all(op.gradient_rms for op in sample.signal.ops)
        assert all(weight.update_ratio for weight in sample.signal.weights)
    assert hooks_of(module) == 0


def test_lightning_s_accumulated_steps_span_their_batches(tmp_path):
    monitor = xavier.Monitor(every=2)
    callback = xavier.torch.LightningMonitor(monitor)
    module, twin = lightning_module(), lightning_module()
    # Six batches an epoch: the last step of each has two in place of four.
    fit(module, tmp_path, [callback], accumulate_grad_batches=4)
    fit(twin, tmp_path, [], accumulate_grad_batches=4)
    assert module.losses == twin.losses
    assert [sample.step for sample in monitor.samples] == [0, 2]
    assert all(each.update_ratio for sample in monitor.samples for each in sample.signal.weights)


def test_lightning_s_training_is_saved_and_resumed(tmp_path):
    monitor = xavier.Monitor(every=4)
    callback = xavier.torch.LightningMonitor(monitor)
    module, file = lightning_module(), tmp_path / "saved.ckpt"
    fit(module, tmp_path, [callback], max_epochs=1).save_checkpoint(file)
    fit(module, tmp_path, [callback], resumed_from=file)
    assert [sample.step for sample in monitor.samples] == [0, 4, 8]


def test_an_exception_in_lightning_s_training_leaves_nothing(tmp_path):
    monitor = xavier.Monitor(every=1)
    module = lightning_module(fails_at=2)
    with pytest.raises(ValueError, match="the data ran dry"):
        fit(module, tmp_path, [xavier.torch.LightningMonitor(monitor)])
    assert [sample.step for sample in monitor.samples] == [0, 1]
    assert hooks_of(module) == 0
    assert not torch.overrides._get_current_function_mode_stack()


def test_lightning_s_loss_scaler_is_taken():
    class Plugin:
        scaler = type("Scaler", (), {"get_scale": staticmethod(lambda: 8.0)})()

    trainer = type("Trainer", (), {"precision_plugin": Plugin, "global_step": 0})()
    module = lightning_module()
    monitor = xavier.Monitor()
    callback = xavier.torch.LightningMonitor(monitor)
    inputs, target = seeded_data(4).tensors
    found = []
    for scale, start in ((1.0, lambda: monitor.attach(module)), (8.0, None)):
        (start or (lambda: callback.on_fit_start(trainer, module)))()
        with monitor.step(int(scale) * 100):
            (cross_entropy(module.net(inputs), target) * scale).backward()
        found.append([op.gradient_rms for op in monitor.last.signal.ops])
    assert found[0] == pytest.approx(found[1])


def language_model():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 32, "n_positions": 8}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def train(model, folder, callbacks, **settings):
    from transformers import Trainer, TrainingArguments

    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(32, (8,), generator=generator) for _ in range(24)]
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, report_to=[], use_cpu=True,
        disable_tqdm=True, logging_steps=1, seed=1,
        **{"save_strategy": "no", "max_steps": 5, **settings},
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, train_dataset=[{"input_ids": each, "labels": each} for each in ids],
        callbacks=callbacks,
    )  # fmt: skip
    trainer.train()
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]


# It pins memory, which it warns of where there is no accelerator to pin it for.
@pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"activation_checkpointing": True},
        {"bf16": True},
        {"save_strategy": "steps", "save_steps": 2},
    ],
    ids=lambda settings: next(iter(settings), "plain"),
)
def test_the_trainer_s_training_is_sampled_and_stays_the_same(tmp_path, settings):
    monitor = xavier.Monitor(every=2)
    model, twin = language_model(), language_model()
    found = train(model, tmp_path, [xavier.torch.TrainerMonitor(monitor)], **settings)
    assert found == train(twin, tmp_path / "twin", [], **settings)
    assert [sample.step for sample in monitor.samples] == [0, 2, 4]
    for sample in monitor.samples:
        assert sum(bool(op.weights) for op in sample.signal.ops) == 11
        assert sample.signal.ops[-1].weights == ("transformer.wte.weight",)
        assert all(op.gradient_rms for op in sample.signal.ops)
        for weight in sample.signal.weights:
            assert (weight.update_ratio is None) == (weight.rms == 0), "nothing to compare with"
    assert hooks_of(model) == hooks_of(twin)


def test_after_an_error_in_the_trainer_s_training_cancel_takes_all_off(tmp_path):
    monitor = xavier.Monitor(every=1)
    model = language_model()
    model.lm_head.register_forward_pre_hook(_fail)
    with pytest.raises(ValueError, match="the data ran dry"):
        train(model, tmp_path, [xavier.torch.TrainerMonitor(monitor)])
    assert not torch.overrides._get_current_function_mode_stack()
    monitor.cancel()  # the trainer tells its callbacks nothing of errors
    assert hooks_of(model) == 1


def _fail(*_):
    raise ValueError("the data ran dry")


def _loaded_after(code: str) -> set[str]:
    tail = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_the_libraries_are_imported_when_a_callback_is_asked_for():
    assert not _loaded_after("import xavier.torch") & {"lightning", "transformers"}
    assert "LightningMonitor" in dir(xavier.torch)
    with pytest.raises(AttributeError, match=r"module 'xavier\.torch' has no attribute 'Monitr'"):
        _ = xavier.torch.Monitr


@pytest.mark.parametrize(
    ("callback", "package", "hidden"),
    [
        ("LightningMonitor", "lightning", ("lightning", "pytorch_lightning")),
        ("TrainerMonitor", "transformers", ("transformers",)),
    ],
)
def test_a_library_that_is_not_there_is_told(callback, package, hidden):
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {hidden!r}:\n"
        "            raise ModuleNotFoundError(name, name=name.partition('.')[0])\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import xavier.torch\n"
        "try:\n"
        f"    xavier.torch.{callback}\n"
        "except xavier.MissingFrameworkError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = f"{package} is not installed\nHint: pip install {package}"
    assert run.stdout.strip() == told
