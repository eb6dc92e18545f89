"""What stands in deploy/ agrees with the code, and its parts with each other."""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from perago.cli import health
from perago.cli.commands.start import command as start
from perago.settings import load_runtime_config
from perago.settings.variables import Variables
from perago.worker.supervisor.shutdown import AT_ONCE_SECONDS, THREADS_SECONDS
from servers.conductor import Database, database_settings
from servers.conductor_api import fresh, simple

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "systemd" / "perago-worker@.service").read_text()


class StrictLoader(yaml.SafeLoader):
    """Takes no key twice, as Kubernetes does not; YAML's usual reader lets the last one stand."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice, {node.start_mark}"
        return super().construct_mapping(node, deep)


def _documents(name):
    return list(yaml.load_all((DEPLOY / "kubernetes" / name).read_text(), StrictLoader))


WORKER = {it["kind"]: it for it in _documents("worker.yaml")}
(SCALING,) = _documents("scaling.yaml")
POD = WORKER["StatefulSet"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
GIB = 1024**3
SECRETS = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "key", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "not-shown"}


def _configured(values, directory):
    return load_runtime_config("app.features", cwd=directory, process_env=values, probe_roots=False)


def _image_environment():
    _, _, last_stage = DOCKERFILE.rpartition("\nFROM ")
    (lines,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", last_stage, re.MULTILINE)
    return dict(word.split("=", 1) for word in lines.replace("\\\n", " ").split())


def _pod_environment(directory):
    """The variables of a pod. The secret is mounted in this directory instead of the pod's."""
    environment = dict(WORKER["ConfigMap"]["data"])
    (mount,) = [it for it in CONTAINER["volumeMounts"] if it["name"] == "secrets"]
    assert environment["PERAGO_SECRETS_DIR"] == mount["mountPath"]
    assert mount["readOnly"]
    for name, value in SECRETS.items():
        (directory / name).write_text(value)
    return {**environment, "PERAGO_SECRETS_DIR": str(directory)}


def _unit(key):
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def _options(words):
    parsed = start.make_context("start", list(words))
    return parsed.params


@pytest.mark.parametrize("path", sorted(it for it in DEPLOY.rglob("*") if it.is_file()), ids=lambda path: path.name)
def test_every_setting_that_is_named_is_one(path):
    named = set(re.findall(r"\b(?:PERAGO|CONDUCTOR|LAKECTL|OTEL)_[A-Z_]*[A-Z]\b", path.read_text()))
    assert named - {"PERAGO_MODULES", "PERAGO_SLOTS"} <= set(Variables.model_fields)


def test_the_config_map_with_the_secret_is_a_whole_configuration(tmp_path):
    config = _configured({**_image_environment(), **_pod_environment(tmp_path)}, tmp_path)
    assert config.conductor is not None
    assert config.lakefs_credentials()().items() >= SECRETS.items()
    assert config.sandbox == _image_environment()["PERAGO_SANDBOX"] == "enforce"
    assert "PERAGO_SANDBOX=enforce" in _unit("Environment")
    mounted = {it["name"]: it["mountPath"] for it in CONTAINER["volumeMounts"]}
    claims = {it["metadata"]["name"]: it for it in WORKER["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert {*claims, *(it["name"] for it in POD["spec"]["volumes"])} == set(mounted)
    assert config.workspace_root.is_relative_to(mounted["workspaces"])
    assert config.log_root.is_relative_to(mounted["workspaces"])
    assert config.cache_dir.is_relative_to(mounted["cache"])
    asked = claims["cache"]["spec"]["resources"]["requests"]["storage"]
    assert int(asked.removesuffix("Gi")) * GIB > config.cache_max_size
    room = claims["workspaces"]["spec"]["resources"]["requests"]["storage"]
    assert config.warm_max_size is not None
    assert int(room.removesuffix("Gi")) * GIB > 2 * config.warm_max_size


def test_a_pod_gets_the_time_that_a_drain_may_take(tmp_path):
    config = _configured(_pod_environment(tmp_path), tmp_path)
    drain = config.shutdown_force_kill_after
    assert drain is not None
    assert POD["spec"]["terminationGracePeriodSeconds"] > drain.total_seconds() + THREADS_SECONDS + AT_ONCE_SECONDS


def test_a_service_gets_the_time_that_a_drain_may_take(tmp_path):
    config = _configured(_unit_environment(tmp_path), tmp_path)
    assert config.shutdown_force_kill_after is not None
    (stop,) = _unit("TimeoutStopSec")
    longest = config.shutdown_force_kill_after.total_seconds() + THREADS_SECONDS + AT_ONCE_SECONDS
    assert int(stop.removesuffix("s")) > longest
    assert _unit("KillMode") == ["mixed"]  # SIGTERM is for the supervisor; executors end when it says so


def _unit_environment(directory):
    given = dict(line.split("=", 1) for line in _unit("Environment"))
    return {name: re.sub("%[SLC]", str(directory), value).replace("%i", "app") for name, value in given.items()}


def test_a_service_writes_where_systemd_makes_it_directories(tmp_path):
    environment = _unit_environment(tmp_path)
    made = {"PERAGO_WORKSPACE_ROOT": "State", "PERAGO_LOG_ROOT": "Logs", "PERAGO_CACHE_DIR": "Cache"}
    for setting, kind in {**made, "XDG_STATE_HOME": "State"}.items():
        (names,) = _unit(f"{kind}Directory")
        below = [tmp_path / name.replace("%i", "app") for name in names.split()]
        assert any(map(Path(environment[setting]).is_relative_to, below)), setting


def test_probes_ask_for_pages_that_the_worker_has_at_the_port_where_they_are(tmp_path):
    pages = set(re.findall(r'"(/[a-z]+)"', inspect.getsource(health)))
    probes = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    asked = {name: probe["path"] for name, probe in probes.items()}
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    annotations = POD["metadata"]["annotations"]
    assert {*asked.values(), annotations["prometheus.io/path"]} <= pages
    (port,) = CONTAINER["ports"]
    address = WORKER["ConfigMap"]["data"]["PERAGO_HEALTH_ADDRESS"]
    assert address == _image_environment()["PERAGO_HEALTH_ADDRESS"] == f"0.0.0.0:{port['containerPort']}"
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert f"EXPOSE {port['containerPort']}" in DOCKERFILE


def test_the_command_lines_are_ones_that_perago_takes():
    name, *words = CONTAINER["args"]
    assert name == "start"
    assert _options(words)["slots"] == int(SCALING["spec"]["triggers"][0]["metadata"]["targetValue"])
    (line,) = _unit("ExecStart")
    program, name, *words = shlex.split(line.replace("${PERAGO_SLOTS}", "4").replace("$PERAGO_MODULES", "one two"))
    assert (program, name) == ("/opt/perago/bin/perago", "start")
    assert _options(words)["modules"] == ("one", "two")


def test_the_image_has_what_every_extra_asks_for():
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (PROJECT / "requirements" / "image.txt").read_text(), re.MULTILINE))
    asked = {re.match(r"[A-Za-z0-9-]+", it)[0] for extra in extras.values() for it in extra} - {"perago"}
    assert asked <= locked
    assert "-r requirements/image.txt" in DOCKERFILE


def test_the_image_runs_as_the_user_that_the_pod_names():
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    security = POD["spec"]["securityContext"]
    assert security["runAsNonRoot"]
    assert [security["runAsUser"], security["runAsGroup"], security["fsGroup"]] == [int(user), int(group), int(group)]


def test_the_worker_of_compose_is_configured_and_gets_the_time_to_drain(tmp_path):
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    worker = compose["services"]["worker"]
    given = {name: re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", value) for name, value in worker["environment"].items()}
    config = _configured(given, tmp_path)
    longest = config.shutdown_force_kill_after.total_seconds() + THREADS_SECONDS + AT_ONCE_SECONDS
    assert int(worker["stop_grace_period"].removesuffix("s")) > longest
    assert config.sandbox == "enforce"
    lakefs = compose["services"]["lakefs"]["environment"]
    assert worker["environment"]["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"] == lakefs["LAKEFS_INSTALLATION_ACCESS_KEY_ID"]
    name, *words = worker["command"]
    assert name == "start"
    modules = _options(words)["modules"]
    assert all((PROJECT / "examples" / f"{module.replace('.', '/')}.py").exists() for module in modules)


def test_conductor_of_compose_is_on_postgresql_as_in_the_long_tests():
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    lines = compose["configs"]["conductor"]["content"].splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert database_settings(Database.POSTGRES).items() <= properties.items()
    database, conductor = compose["services"]["postgres"], compose["services"]["conductor"]
    assert properties["spring.datasource.username"] == database["environment"]["POSTGRES_USER"]
    assert conductor["environment"]["SPRING_DATASOURCE_PASSWORD"] == database["environment"]["POSTGRES_PASSWORD"]
    assert properties["spring.datasource.url"] == "jdbc:postgresql://postgres/conductor"


def test_the_parts_find_each_other():
    labels = POD["metadata"]["labels"]
    name = WORKER["StatefulSet"]["metadata"]["name"]
    selectors = [
        WORKER["StatefulSet"]["spec"]["selector"]["matchLabels"],
        WORKER["Service"]["spec"]["selector"],
        WORKER["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert WORKER["StatefulSet"]["spec"]["serviceName"] == WORKER["Service"]["metadata"]["name"]
    assert SCALING["spec"]["scaleTargetRef"]["name"] == name
    assert {next(iter(it.values()))["name"] for it in CONTAINER["envFrom"]} == {WORKER["ConfigMap"]["metadata"]["name"]}


def test_conductor_answers_what_the_scaler_asks_for(conductor):
    metadata = SCALING["spec"]["triggers"][0]["metadata"]
    path = metadata["url"].partition("/api")[2]
    asked = metadata["valueLocation"]
    task = conductor.define_task(fresh("scaled"))
    workflow = conductor.define_workflow(fresh("flow"), [simple(task, "only", {})])
    for _ in range(3):
        last = conductor.start_workflow(workflow)
    conductor.wait_for(last, lambda found: bool(found["tasks"]))
    route, _, query = path.replace(asked, task).partition("?")
    name, _, value = query.partition("=")
    found = conductor.expect("GET", route, query={name: value})
    assert found == {task: 3}


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze, of systemd")
    (tmp_path / "perago-worker@.service").write_text(UNIT.replace("/opt/perago/bin/perago", "/bin/true"))
    said = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "perago-worker@app.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")
