"""Training: stages, resuming bit for bit, several processes, checkpoints and mistakes."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

import unfolded
from unfolded import Separator, losses
from unfolded.data import Batches, loader
from unfolded.training import trainer as training
from unfolded.training.config import OptimizerConfig
from unfolded.training.logs import Logs
from unfolded.training.objective import Objective, takes_spectrograms
from unfolded.training.optimizers import build_schedule
from unfolded.training.reading import config_from, save_config
from unfolded.training.trainer import Trainer

GRU = {"name": "gru", "options": {"hidden": 6, "n_bands": 5, "n_layers": 1}}
UMX = {"name": "open-unmix", "options": {"hidden": 6, "n_layers": 2, "dropout": 0.3}}
STAGES = [
    {"train": "magnitude", "epochs": 2, "loss": {"terms": {"msa": 1}}},
    {"train": "inversion", "epochs": 1, "lr": 0.01, "grow": True},
    {"train": "all", "epochs": 2},
]


@pytest.fixture(autouse=True)
def _one_thread_and_a_fresh_accelerator():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    torch.set_num_threads(before)


def configuration(folder, **changes):
    """Three steps an epoch on signals of a twentieth of a second."""
    tree = {
        "output": str(folder),
        "cpu": True,
        "data": {
            "train": {"kind": "synthetic", "items": 13, "seconds": 0.05},
            "valid": {"kind": "synthetic", "items": 5, "seconds": 0.05},
            "sample_rate": 2000,
            "batch_size": 4,
        },
        "model": {
            "stft": {"n_fft": 16},
            "estimator": GRU,
            "inversion": {"n_layers": 2, "momentum": 0.1},
        },
        "loss": {"terms": {"si-sdr": 1}},
        "stages": STAGES,
        "logging": {"every": 1},
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    return config_from(tree)


def train(config, *, resume=False, stop_after=None):
    AcceleratorState._reset_state(True)
    trainer = Trainer(config, resume=resume)
    rows = list(trainer.run(stop_after=stop_after))
    return trainer, rows


def state(folder):
    return torch.load(Path(folder) / "state.pt", weights_only=True)


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds"}:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def assert_same_run(one, other):
    first, second = state(one), state(other)
    del first["config"], second["config"]
    assert_same(first, second)
    for name in ("best", "last"):
        weights = [(Path(f) / name / "model.safetensors").read_bytes() for f in (one, other)]
        assert weights[0] == weights[1]


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_run_writes_its_logs_and_models(tmp_path, capsys):
    config = configuration(tmp_path)
    trainer, rows = train(config)
    assert not trainer.interrupted
    assert [(r["stage"], r["depth"], r["epoch"]) for r in rows] == [
        (0, None, 0),
        (0, None, 1),
        (1, 1, 0),
        (1, 2, 0),
        (2, None, 0),
        (2, None, 1),
    ]
    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["valid_loss"]) for line in lines] == [row["valid_loss"] for row in rows]
    assert len((tmp_path / "steps.csv").read_text().splitlines()) == 1 + 18
    assert capsys.readouterr() == ("", "")  # no progress where nobody looks
    assert not list(tmp_path.rglob(".*"))
    model = Separator.from_pretrained(tmp_path / "best")
    best = min(rows[-2:], key=lambda row: row["valid_loss"])
    losses_, scores = [], []
    data = trainer.valid_data
    for batch in loader(data, Batches(len(data), 4, shuffle=False)):
        with torch.no_grad():
            y = model(batch["mixture"])
        losses_.append(losses.get_loss("si-sdr")(y, batch["sources"]))
        scores.append(-losses_[-1])
    assert float(torch.cat(losses_).mean()) == pytest.approx(best["valid_loss"], abs=1e-4)
    assert best["si_sdr"] == pytest.approx(float(torch.cat(scores).mean()), abs=1e-3)
    x = torch.stack([data[k]["mixture"] for k in range(5)]).unsqueeze(1).expand(-1, 2, -1, -1)
    s = torch.stack([data[k]["sources"] for k in range(5)])
    before = -float(losses.get_loss("si-sdr")(x, s).mean())
    assert best["si_sdri"] == pytest.approx(best["si_sdr"] - before, abs=1e-3)


@pytest.mark.parametrize(
    ("network", "stops"),
    [(GRU, (1, 2, 3, 6, 8, 9, 13, 17)), (UMX, (5, 12, 16))],
    ids=["gru", "umx"],
)
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path, network, stops):
    train(configuration(tmp_path / "whole", model__estimator=network))
    for stop in stops:
        config = configuration(tmp_path / f"stop{stop}", model__estimator=network)
        trainer, _ = train(config, stop_after=stop)
        assert trainer.interrupted and trainer.position.steps == stop
        trainer, _ = train(config, resume=True)
        assert not trainer.interrupted and trainer.position.steps == 18
        assert_same_run(tmp_path / "whole", tmp_path / f"stop{stop}")
    again, rows = train(config, resume=True)
    assert rows == [] and again.position.steps == 18


def test_a_killed_run_resumes_from_its_last_save(tmp_path, monkeypatch):
    settings = {"save_every": 4, "optimizer__schedule": "cosine", "optimizer__warmup": 3}
    train(configuration(tmp_path / "whole", **settings))
    config = configuration(tmp_path / "cut", **settings)
    log = Logs.step

    def die(self, number, *args):
        log(self, number, *args)
        if number == 6:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Logs, "step", die)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config)
    monkeypatch.undo()
    assert state(tmp_path / "cut")["position"]["steps"] == 4
    train(config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_sigint_saves_and_stops_after_the_step(tmp_path, monkeypatch):
    train(configuration(tmp_path / "whole"))
    config = configuration(tmp_path / "cut")
    before = signal.getsignal(signal.SIGINT)
    log = Logs.step

    def interrupt(self, number, *args):
        log(self, number, *args)
        if number == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Logs, "step", interrupt)
    trainer, _ = train(config)
    monkeypatch.undo()
    assert trainer.interrupted and state(tmp_path / "cut")["position"]["steps"] == 5
    assert signal.getsignal(signal.SIGINT) is before
    train(config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_second_sigint_ends_at_once(tmp_path, monkeypatch, request):
    def interrupt(self, *args):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Logs, "step", interrupt)
    # A suite that was started in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        train(configuration(tmp_path))


def test_reading_in_workers_changes_nothing(tmp_path):
    stages = [{"train": "all", "epochs": 2}]
    train(configuration(tmp_path / "none", stages=stages))
    train(configuration(tmp_path / "two", stages=stages, data__workers=2))
    assert_same_run(tmp_path / "none", tmp_path / "two")


TWO = """
import sys
from pathlib import Path
from unfolded.cli import main
try:
    main(["train", "config.yaml"])
finally:
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    if any("gloo" in name for name in names):  # one that frees a tensor now aborts the process
        sys.exit("threads of the group of processes are left")
"""


def test_two_processes_train_as_one(tmp_path):
    # Adam would turn the rounding of a gradient that is nearly 0 into a whole step.
    settings = {"save_every": 2, "optimizer": {"name": "sgd", "lr": 0.01}}
    train(configuration(tmp_path / "one", **settings))
    config = configuration(tmp_path / "two", **settings)
    save_config(config, tmp_path / "config.yaml")
    (tmp_path / "two.py").write_text(TWO)
    # On the CPU accelerate's own launcher needs MPI; torchrun starts the same code.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(unfolded.__file__).parents[1]),
    }
    done = subprocess.run(
        [*launch, "two.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch ") == 6  # one process speaks
    first, second = state(tmp_path / "one"), state(tmp_path / "two")
    assert len(second["random"]) == 2 and len(first["steps"]) == len(second["steps"]) == 18
    for one, two in zip(first["steps"], second["steps"], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    for one, two in zip(first["history"], second["history"], strict=True):
        for key in ("train_loss", "valid_loss", "si_sdr", "si_sdri"):
            assert two[key] == pytest.approx(one[key], abs=1e-4)
    for name, weight in first["model"].items():
        torch.testing.assert_close(second["model"][name], weight, atol=1e-4, rtol=1e-3)


def test_one_batch_is_learnt_by_heart(tmp_path):
    config = configuration(
        tmp_path,
        data__train={"kind": "synthetic", "items": 2, "seconds": 0.05},
        data__valid=None,
        data__batch_size=2,
        loss={"terms": {"l1": 1}},
        stages=[{"train": "all", "epochs": 60}],
        model__estimator={"name": "gru", "options": {"hidden": 16, "n_bands": 5}},
        optimizer__lr=0.01,
    )
    trainer = Trainer(config)
    # The items of the first epoch, over and over.
    trainer.train_data.set_epoch = lambda epoch: None
    rows = list(trainer.run())
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert rows[0]["valid_loss"] is None and rows[0]["si_sdr"] is None


def test_each_stage_trains_its_part_alone(tmp_path):
    for train_, network, layers in (
        ("magnitude", True, False),
        ("inversion", False, True),
        ("all", True, True),
    ):
        config = configuration(tmp_path / train_, stages=[{"train": train_, "epochs": 1}])
        trainer = Trainer(config)
        before = parameters(trainer.model)
        list(trainer.run())
        names = changed(before, parameters(trainer.model))
        assert any(name.startswith("estimator") for name in names) == network
        assert any(name.startswith("inversion") for name in names) == layers


def test_a_frozen_network_keeps_its_statistics(tmp_path):
    stages = [{"train": "inversion", "epochs": 1}]
    trainer = Trainer(configuration(tmp_path, model__estimator=UMX, stages=stages))
    before = {k: v.clone() for k, v in trainer.model.estimator.state_dict().items()}
    list(trainer.run())
    assert_same(before, dict(trainer.model.estimator.state_dict()))


def test_a_growing_stage_adds_one_layer_at_a_time(tmp_path):
    stages = [{"train": "inversion", "epochs": 1, "grow": True}]
    trainer = Trainer(configuration(tmp_path, stages=stages, model__inversion__n_layers=3))
    steps = trainer.run()
    before = parameters(trainer.model)
    for depth in (1, 2, 3):
        assert next(steps)["depth"] == depth
        after = parameters(trainer.model)
        layers = {name.split(".")[2] for name in changed(before, after)}
        assert layers == {str(k) for k in range(depth)}
        before = after


def scored_by(monkeypatch, *losses_):
    scores, rest = iter(losses_), {"si_sdr": None, "si_sdri": None}
    monkeypatch.setattr(training, "validate", lambda *_: {"valid_loss": next(scores)} | rest)


def test_models_are_saved_as_their_phase_hears_them(tmp_path):
    stages = [{"train": "magnitude", "epochs": 1}, {"train": "all", "epochs": 1, "grow": True}]
    trainer = Trainer(configuration(tmp_path, stages=stages))
    data = trainer.valid_data
    x = torch.stack([data[k]["mixture"] for k in range(5)])
    s = torch.stack([data[k]["sources"] for k in range(5)])
    for depth, row in zip((0, 1, 2), trainer.run(), strict=True):
        model = Separator.from_pretrained(tmp_path / "last")
        assert (0 if model.inversion is None else model.inversion.n_layers) == depth
        with torch.no_grad():
            loss = losses.get_loss("si-sdr")(model(x), s).mean()
        assert float(loss) == pytest.approx(row["valid_loss"], abs=1e-4)


def test_a_worse_phase_does_not_replace_the_best_model(tmp_path, monkeypatch):
    scored_by(monkeypatch, 1.0, 3.0, 2.0, 0.5)
    stages = [{"train": "all", "epochs": 1}, {"train": "inversion", "epochs": 2}]
    stages += [{"train": "all", "epochs": 1, "loss": {"terms": {"l1": 1}}}]
    trainer = Trainer(configuration(tmp_path, stages=stages))
    steps = trainer.run()
    next(steps)
    first = parameters(trainer.model)
    next(steps), next(steps)
    # The phase ends with its own best weights all the same.
    assert changed(first, parameters(trainer.model))
    best = Separator.from_pretrained(tmp_path / "best")
    assert_same(first, parameters(best))
    # Another loss cannot be compared with what was before.
    next(steps)
    best = Separator.from_pretrained(tmp_path / "best")
    assert_same(parameters(trainer.model), parameters(best))


def test_training_on_true_magnitudes(tmp_path):
    config = configuration(
        tmp_path,
        model__estimator={"name": None},
        stages=[{"train": "inversion", "epochs": 1}],
    )
    _, rows = train(config)
    assert rows[0]["si_sdri"] > 1


def test_patience_ends_a_stage_early(tmp_path):
    stages = [{"train": "all", "epochs": 9, "patience": 2, "lr": 1e-30}] * 2
    _trainer, rows = train(configuration(tmp_path, stages=stages))
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        (k, n) for k in (0, 1) for n in range(3)
    ]


def test_a_stage_ends_with_its_best_weights(tmp_path, monkeypatch):
    scored_by(monkeypatch, 2.0, 1.0, 3.0)
    trainer = Trainer(configuration(tmp_path, stages=[{"train": "all", "epochs": 3}]))
    steps = trainer.run()
    next(steps), next(steps)
    second = parameters(trainer.model)
    next(steps)
    assert list(steps) == []
    assert_same(parameters(trainer.model), second)
    best = Separator.from_pretrained(tmp_path / "best")
    assert_same(dict(best.state_dict()), dict(trainer.model.state_dict()))


def test_gradients_are_clipped(tmp_path):
    plain = {"name": "sgd", "lr": 1.0, "betas": [0.0, 0.0]}
    for clip in (1e-3, None):
        config = configuration(
            tmp_path / str(clip),
            optimizer=plain | {"clip": clip},
            stages=[{"train": "magnitude", "epochs": 1}],
        )
        trainer = Trainer(config)
        before = parameters(trainer.model)
        list(trainer.run(stop_after=1))
        after = parameters(trainer.model)
        moved = torch.stack([(after[name] - before[name]).norm() for name in before]).norm()
        assert (float(moved) == pytest.approx(1e-3, rel=0.01)) == (clip is not None)


def test_mixed_precision_keeps_transforms_and_losses_in_float32(tmp_path, monkeypatch):
    seen = {}
    forward = Objective.forward

    def look(self, mixture, sources):
        network = self.model.estimator
        handles = [
            network.outlet.register_forward_hook(
                lambda module, given, out: seen.update(network=out.dtype)
            )
        ]
        stft = type(self.model.stft).__call__
        with monkeypatch.context() as patch:

            def note(own, x, **kwargs):
                seen.setdefault("stft", []).append(x.dtype)
                return stft(own, x, **kwargs)

            patch.setattr(type(self.model.stft), "__call__", note)
            value = forward(self, mixture, sources)
        seen["loss"] = value.dtype
        for handle in handles:
            handle.remove()
        return value

    monkeypatch.setattr(Objective, "forward", look)
    config = configuration(tmp_path, precision="bf16", stages=[{"train": "all", "epochs": 1}])
    _, rows = train(config)
    assert seen["network"] == torch.bfloat16
    assert set(seen["stft"]) == {torch.float32} and seen["loss"] == torch.float32
    assert rows[0]["valid_loss"] == pytest.approx(-rows[0]["si_sdr"], abs=1e-3)


def test_metrics_follow_the_best_order_of_a_pit_loss(tmp_path):
    trainer = Trainer(configuration(tmp_path))
    item = trainer.valid_data[0]
    x, s = item["mixture"][None], item["sources"][None]
    y = torch.stack([s[:, 1], s[:, 0]], 1) + 0.01 * torch.randn_like(s)

    class Swapped(torch.nn.Module):
        stft = trainer.model.stft
        estimator = trainer.model.estimator
        inversion = None

        def forward(self, mixture, magnitudes):
            return y

    loss = losses.get_loss("l1")
    value, order = Objective(Swapped(), losses.PIT(loss)).evaluate(x, s)
    torch.testing.assert_close(order, y.flip(1))
    torch.testing.assert_close(value, loss(y.flip(1), s))


def test_layers_do_not_depend_on_the_order_of_sources_under_pit(tmp_path):
    stages = [{"train": "all", "epochs": 1}]
    pit = {"terms": {"si-sdr": 1}, "pit": True}
    config = configuration(
        tmp_path, stages=stages, loss=pit, data__train={"kind": "synthetic", "seconds": 0.05}
    )
    trainer, _ = train(config)
    inversion = trainer.model.inversion.double()
    s = torch.randn(2, 100, dtype=torch.float64)
    V, x = trainer.model.stft(s).abs(), s.sum(0)
    torch.testing.assert_close(inversion(V.flip(0), x).flip(0), inversion(V, x))
    declared = {"inversion": {"trainable": {"sigma": "source,layer"}}}
    with pytest.raises(ValueError, match=r"trainable\.sigma has the axis source, .* pit=True"):
        configuration(tmp_path, stages=stages, loss=pit, model=declared)
    refined = configuration(
        tmp_path / "refined", stages=stages, loss=pit, model__inversion__correction={}
    )
    with pytest.raises(ValueError, match=r"correction\.name=.* pit=True"):
        Trainer(refined)
    # The estimator alone may be trained in any order.
    only = [{"train": "magnitude", "loss": pit}, *stages]
    assert not configuration(tmp_path, stages=only, model=declared).any_order


def test_losses_on_spectrograms_see_them_before_the_inverse(tmp_path):
    trainer = Trainer(configuration(tmp_path / "plain"))
    learned = Trainer(configuration(tmp_path / "learned", model__inversion__learn_windows=True))
    msa = losses.combine({"msa": 1, "ri": 2})
    assert takes_spectrograms(trainer.model, msa)
    assert not takes_spectrograms(trainer.model, losses.combine({"msa": 1, "wav-mag": 1}))
    assert not takes_spectrograms(learned.model, msa)
    item = trainer.valid_data[0]
    x, s = item["mixture"][None], item["sources"][None]
    msa = losses.get_loss("msa", stft=trainer.model.stft)
    with torch.no_grad():
        value = Objective(trainer.model, msa)(x, s)
        torch.testing.assert_close(value, msa(trainer.model.spectrogram(x), s))
        assert not torch.allclose(value, msa(trainer.model(x), s))


@pytest.mark.parametrize("train_", ["magnitude", "all"])
def test_validation_runs_the_model_once(tmp_path, train_, monkeypatch):
    stages = [{"train": train_, "epochs": 1}]
    config = configuration(tmp_path, stages=stages, loss={"terms": {"msa": 1}})
    trainer = Trainer(config)
    model = trainer._prepare_parts(trainer.phases[0]).eval()
    item = trainer.valid_data[0]
    x, s = item["mixture"][None], item["sources"][None]
    msa, begin, runs = losses.get_loss("msa", stft=model.stft), Separator._begin, []
    with torch.no_grad():
        expected = msa(model.spectrogram(x), s), model(x)

        def note(*args):
            runs.append(args)
            return begin(*args)

        monkeypatch.setattr(Separator, "_begin", note)
        found = Objective(model, msa).evaluate(x, s)
    torch.testing.assert_close(found, expected)
    assert len(runs) == 1


def test_the_course_of_the_learning_rate():
    def course(**settings):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1.0)
        schedule = build_schedule(OptimizerConfig(**settings), optimizer, 2, 2)
        rates = []
        for _ in range(4):
            rates += schedule.get_last_lr()
            optimizer.step()
            schedule.step()
        return rates

    assert course() == [1, 1, 1, 1]
    assert course(schedule="exponential", decay=0.5) == [1, 1, 0.5, 0.5]
    assert course(schedule="cosine") == pytest.approx([1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert course(warmup=3) == [0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"stages": [{"train": "magnitude"}], "model__estimator": {"name": None}},
            "no param",
        ),
        ({"precision": "fp16"}, "precision='fp16' needs a GPU"),
        ({"data__batch_size": 50}, "batch_size=50 is more than the 13"),
        ({"loss": {"terms": {"sisdr": 1}}}, "did you mean 'si-sdr'"),
        ({"data__valid": {"kind": "synthetic", "n_sources": 3}}, "data.valid has 3 sources"),
        (
            {"loss": {"terms": {"si-sdr": 1e38}}, "optimizer__clip": None},
            "the loss is .* at step [1-9]",
        ),
    ],
)
def test_mistakes_are_named_before_or_at_the_first_step(tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        train(configuration(tmp_path, **changes))


def test_states_that_do_not_fit_are_named(tmp_path):
    config = configuration(tmp_path)
    with pytest.raises(ValueError, match=r"no run to resume: .*state\.pt does not exist"):
        Trainer(config, resume=True)
    train(config, stop_after=2)
    with pytest.raises(ValueError, match="holds a run already; resume it"):
        train(config)
    with pytest.raises(ValueError, match=r"another configuration: optimizer\.lr was 0\.001"):
        train(configuration(tmp_path, optimizer__lr=0.5), resume=True)
    longer = [*STAGES[:2], {"train": "all", "epochs": 3}]
    trainer, _ = train(configuration(tmp_path, stages=longer), resume=True)
    assert trainer.position.steps == 21
    (tmp_path / "state.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"state\.pt is not the state of a run"):
        train(config, resume=True)


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="needs the package tensorboard: pip install"):
        Trainer(configuration(tmp_path, logging__tensorboard=True))


def test_tensorboard_gets_the_numbers(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            assert (folder, purge_step) == (str(tmp_path), 1)

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def close(self):
            written.append("closed")

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    stages = [{"train": "all", "epochs": 1}]
    train(configuration(tmp_path, stages=stages, logging__tensorboard=True))
    assert ("step/loss", 2) in written and ("epoch/valid_loss", 3) in written
    assert written[-1] == "closed"
