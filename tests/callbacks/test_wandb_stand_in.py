"""Weights & Biases without its servers: a stand-in of its package records what is asked of it."""

import importlib.machinery
import pathlib
import pickle
import sys
import types

import pytest

import pax
from pax import Callback, MetaTrainer
from pax.agents import Tabular, TitForTat
from pax.callbacks import Checkpoint, Scalars, WandB
from pax.callbacks.callback import CallbackError
from pax.checkpoints.policies import load_policy
from pax.envs import IteratedMatrixGame
from pax.errors import CheckpointError, ConfigError, MissingLibraryError
from pax.evaluation.players import find_policies
from tests.programs import sharing

WRITER = "pax.metrics.wandb_writer"


class WandbError(Exception):
    pass


class Artifact:
    """As `wandb.Artifact`: what was logged, and what is fetched."""

    def __init__(self, name, type, metadata=None):
        self.name, self.type, self.metadata = name, type, metadata
        self.manifest = types.SimpleNamespace(entries={})
        self.aliases = []

    def add_file(self, path, name):
        self.manifest.entries[name] = pathlib.Path(path).read_bytes()

    def get_entry(self, name):
        def download(root):
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.manifest.entries[name])
            return str(path)

        return types.SimpleNamespace(download=download)


class File(Artifact):
    """As a file of a run."""

    def download(self, root, replace):
        return open(self.get_entry(self.name).download(root))


class Run:
    """As `wandb.Run`, and as what the API tells of it."""

    def __init__(self, settings):
        self.settings, self.id = settings, settings["id"]
        self.rows, self.artifacts, self.own_files = [], [], {}
        self.config = types.SimpleNamespace(update=lambda *args, **kwargs: None)
        self.exit_codes = []

    @property
    def offline(self):
        return self.settings.get("mode") == "offline"

    @property
    def step(self):
        # Offline, nobody knows what was sent before.
        return self.rows[-1][0] + 1 if self.rows and not self.offline else 0

    def log(self, row, step):
        self.rows.append((step, row))

    def log_artifact(self, artifact, aliases):
        for other in self.artifacts:
            other.aliases = [alias for alias in other.aliases if alias not in aliases]
        artifact.aliases = list(aliases)
        self.artifacts.append(artifact)

    def finish(self, exit_code):
        self.exit_codes.append(exit_code)

    def logged_artifacts(self):
        return list(self.artifacts)

    def files(self, names):
        found = []
        for name in names:
            if name in self.own_files:
                file = File(name, "file")
                file.manifest.entries[name] = self.own_files[name]
                found.append(file)
        return found


class StandIn(types.ModuleType):
    """The package, and the servers behind it."""

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None, origin="stand-in")
        self.errors = types.SimpleNamespace(Error=WandbError)
        self.Artifact = Artifact
        self.runs, self.began, self.asked = {}, [], 0
        self.has_key, self.is_reachable = True, True

    def Settings(self, **settings):  # noqa: N802
        return settings

    def setup(self):
        return types.SimpleNamespace(settings=types.SimpleNamespace(mode="online"))

    def login(self, prompt, verify):
        assert prompt is False
        return self.has_key

    def init(self, **settings):
        self.began.append(settings)
        run = self.runs.setdefault(settings["id"], Run(settings))
        run.settings = settings
        return run

    def Api(self, timeout):  # noqa: N802
        self.asked += 1
        if not self.is_reachable:
            raise WandbError("Network error")
        return types.SimpleNamespace(run=self._run)

    def _run(self, path):
        entity, project, name = path.split("/")
        if (entity, project) != ("me", "pax") or name not in self.runs:
            raise WandbError(f"Could not find run <Run {path} (not found)>")
        return self.runs[name]


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    stand_in = StandIn()
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    # It has the package by name, the stand-in while it stands in.
    before = sys.modules.pop(WRITER, None)
    yield stand_in
    sys.modules.pop(WRITER, None)
    if before is not None:
        sys.modules[WRITER] = before


def make_trainer(workdir, *callbacks, num_seeds=1):
    env = IteratedMatrixGame(num_inner_steps=4)
    trainer = MetaTrainer(
        env,
        [Tabular.for_env(env), TitForTat.for_env(env, seat=1)],
        num_envs=5,
        num_iters=4,
        num_seeds=num_seeds,
        chunk=2,
        callbacks=callbacks,
        default_callbacks=False,
        quiet=True,
        workdir=workdir,
    )
    # The programs of tests/run/test_staging.py.
    return sharing(trainer, "staging", num_seeds)


class Broken(Callback):
    every = 2

    def __init__(self, step):
        self.step = step

    def on_chunk_end(self, trainer, state, step, metrics):
        if step == self.step:
            raise RuntimeError("broken")


def logged(run):
    return [step for step, _ in run.rows]


def test_settings_reach_wandb(wandb, tmp_path):
    make_trainer(
        tmp_path / "mine",
        WandB("p", "me", "pairs", job_type="train", tags=("a", "b"), mode="offline"),
    ).fit(2)
    make_trainer(tmp_path / "other", WandB(name="own")).fit(2)
    first, second = wandb.began
    about = ("project", "entity", "group", "job_type", "tags", "mode", "name", "resume")
    expected = ("p", "me", "pairs", "train", ["a", "b"], "offline", "mine", "allow")
    assert tuple(first[key] for key in about) == expected
    assert first["dir"] == str(tmp_path / "mine")
    assert (second["project"], second["name"], second["tags"]) == ("pax", "own", None)
    # What says how it is sent is left to W&B.
    assert "mode" not in second and first["id"] != second["id"]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_that_goes_on_is_the_same_run_and_no_row_is_there_twice(wandb, tmp_path, mode):
    callbacks = lambda: (WandB(mode=mode), Scalars(every=2), Checkpoint(every=2))  # noqa: E731
    with pytest.raises(CallbackError):
        # After the row of iteration 4, before its checkpoint.
        make_trainer(tmp_path, *callbacks(), Broken(4)).fit()
    (run,) = wandb.runs.values()
    assert logged(run) == [2, 4] and run.exit_codes == [1]
    trainer = make_trainer(tmp_path, *callbacks())
    trainer.fit(6)
    assert trainer.first_step == 2
    assert list(wandb.runs) == [(tmp_path / "wandb_run_id.txt").read_text().strip()]
    assert logged(run) == [2, 4, 6] and run.exit_codes == [1, 0]


def test_policies_are_artifacts_of_each_export_and_of_the_end(wandb, tmp_path):
    make_trainer(tmp_path, WandB(), Checkpoint(every=2, export_every=2), num_seeds=2).fit()
    (run,) = wandb.runs.values()
    told = [(each.name, each.type, each.metadata) for each in run.artifacts]
    name = f"policies-{run.id}"
    assert told == [(name, "policy", {"iteration": step}) for step in (2, 4, 4)]
    last = run.artifacts[-1]
    assert last.aliases == ["latest", "iteration-4"]
    files = ["agent1_seed_0.msgpack", "agent1_seed_1.msgpack"]
    assert sorted(last.manifest.entries) == files
    assert last.manifest.entries[files[0]] == (tmp_path / "policies" / files[0]).read_bytes()
    make_trainer(tmp_path / "none", WandB(policies=False), Checkpoint(every=2)).fit(2)
    assert not list(wandb.runs.values())[-1].artifacts


@pytest.fixture
def trained(wandb, tmp_path):
    """The path of a run of which W&B has the policies of two iterations."""
    make_trainer(tmp_path / "run", WandB(), Checkpoint(every=2, export_every=2)).fit()
    (run,) = wandb.runs
    return f"wandb:me/pax/{run}"


def test_a_policy_is_fetched_once_and_then_offline_too(wandb, trained, tmp_path, monkeypatch):
    here = (tmp_path / "run" / "policies" / "agent1.msgpack").read_bytes()
    path = f"{trained}/agent1.msgpack"
    player = pax.load_agent(path)
    assert player.name == "agent1" and player.act(0) in (0, 1)
    copy = find_policies([path])[0][0].path
    assert copy.read_bytes() == here and copy.is_relative_to(tmp_path / "cache" / "pax" / "wandb")
    asked = wandb.asked
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert load_policy(path).agent == load_policy(copy).agent
    assert wandb.asked == asked
    monkeypatch.delenv("WANDB_MODE")
    wandb.is_reachable = False
    load_policy(path)
    wandb.has_key = False
    load_policy(path)
    # Without the package as well.
    monkeypatch.setitem(sys.modules, "wandb", None)
    load_policy(path)


def test_the_policy_of_an_iteration_and_files_of_other_runs(wandb, trained, tmp_path):
    first = (tmp_path / "run" / "policies" / "2" / "agent1.msgpack").read_bytes()
    assert find_policies([f"{trained}:2/agent1.msgpack"])[0][0].path.read_bytes() == first
    run = wandb.runs[trained.rpartition("/")[2]]
    run.own_files["old/agent.msgpack"] = first
    assert load_policy(f"{trained}/old/agent.msgpack").agent["agent"] == "Tabular"
    # What comes from others is read as a policy, and never run.
    run.own_files["model.pkl"] = pickle.dumps(WandbError)
    with pytest.raises(CheckpointError, match=r"model.pkl is not a policy file"):
        load_policy(f"{trained}/model.pkl")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("wandb:me/pax/none/a.msgpack", "W&B has no run me/pax/none that you may read .*not find"),
        ("wandb:me/other/{run}/a.msgpack", "W&B has no run me/other/{run} that you may read"),
        ("wandb:me/pax/{run}/agent2.msgpack", "no such file: did you mean agent1.msgpack?"),
        ("wandb:me/pax/{run}:3/agent1.msgpack", "has no iteration-3: did you mean iteration-"),
        ("wandb:me/pax/agent1.msgpack", "give wandb:<entity>/<project>/<run>/<file>, as in"),
        ("wandb:me/pax/{run}", "give wandb:<entity>/<project>/<run>/<file>"),
        ("wandb:", "give wandb:<entity>/<project>/<run>/<file>"),
        ("wandb:me/pax/{run}/../x.msgpack", "give wandb:<entity>/<project>/<run>/<file>"),
        ("wandb:me/pax/..:x/a.msgpack", "give .* without . and .."),
        ("wandb:me/pax/{run}//a", "give wandb:<entity>/<project>/<run>/<file>"),
    ],
)
def test_what_is_not_there_is_told(wandb, trained, path, sentence):
    run = trained.rpartition("/")[2]
    with pytest.raises(ConfigError, match=sentence.replace("{run}", run)):
        pax.load_agent(path.replace("{run}", run))


def test_without_key_network_or_package_a_policy_is_told_to_be_missing(wandb, trained, monkeypatch):
    path = f"{trained}/agent1.msgpack"
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        with pytest.raises(ConfigError, match=r"no copy here, and WANDB_MODE is offline"):
            load_policy(path)
    wandb.is_reachable = False
    with pytest.raises(ConfigError, match=r"cannot be fetched \(Network error\): type wandb login"):
        load_policy(path)
    wandb.has_key = False
    with pytest.raises(ConfigError, match=r"there is no key for Weights & Biases: type wandb"):
        load_policy(path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingLibraryError, match=r"needs the package wandb: pip install"):
        load_policy(path)


def test_a_missing_key_is_told_before_anything_is_made(wandb, tmp_path):
    wandb.has_key = False
    trainer = make_trainer(tmp_path / "run", WandB())
    with pytest.raises(ConfigError, match=r"there is no key for it\): type wandb login, or set"):
        trainer.check()
    with pytest.raises(ConfigError, match="there is no key for it"):
        trainer.fit()
    assert not (tmp_path / "run").exists()
    make_trainer(tmp_path / "run", WandB(mode="offline")).fit(2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"entity": 1}, "entity is 1 in WandB: give text"),
        ({"job_type": None}, "job_type is None in WandB: give text"),
        ({"tags": "a"}, "tags in WandB is 'a': give a tuple of words"),
        ({"tags": ("a", 2)}, "tags has 2 in WandB: give words of up to 64 characters"),
        ({"mode": "off"}, "mode is 'off' in WandB: give 'online', 'offline' or ''"),
        ({"policies": "no"}, "policies is 'no' in WandB: give True or False"),
    ],
)
def test_settings_of_the_wrong_kind(wandb, tmp_path, settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_trainer(tmp_path, WandB(**settings))
