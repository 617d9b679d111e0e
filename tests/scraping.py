"""What a worker's metrics port says, for tests of workers that run."""

from urllib.request import urlopen


def scraped(port: int) -> dict[str, float]:
    """Every sample of a worker's on this machine by its name, labels included."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }
