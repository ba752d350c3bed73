"""Run the benchmarks and print how each way compares with the plain one of its group.

python tests/benchmarks [word ...]     # only those whose files or tests have such a word
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).parent


def measure(words: list[str]) -> list[dict[str, Any]]:
    """pytest-benchmark's records of the chosen benchmarks."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        chosen = ["-k", " or ".join(words)] if words else []
        command = [sys.executable, "-m", "pytest", "-q", str(HERE), f"--benchmark-json={report}", *chosen]
        subprocess.run([*command, "--benchmark-columns=median"], check=True)
        return json.loads(report.read_text(encoding="utf-8"))["benchmarks"] if report.stat().st_size else []


def way(record: dict[str, Any]) -> str:
    """The parameter `way` of a benchmark: the name of what was measured."""
    given = (record["params"] or {}).get("way", record["name"])
    return str(given).removeprefix("UNSERIALIZABLE[").removesuffix("]").split(" at 0x")[0].removeprefix("<function ")


def table(records: list[dict[str, Any]]) -> str:
    """One line per way, grouped: median milliseconds, and how many times as fast as the plain way."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record["group"] or record["name"]].append(record)
    lines = []
    for name, members in groups.items():
        plain = next((r["stats"]["median"] for r in members if way(r).startswith("plain")), None)
        for record in sorted(members, key=lambda r: -r["stats"]["median"]):
            median, extra = record["stats"]["median"], record["extra_info"]
            ratio = f"{plain / median:.2f}" if plain else ""
            lines.append(
                [name, way(record), f"{1000 * median:.3g}", ratio, " ".join(f"{k} {v:.4g}" for k, v in extra.items())]
            )
    return tabulate(
        lines, ["benchmark", "way", "median ms", "times as fast as plain", ""], "github", disable_numparse=True
    )


if __name__ == "__main__":
    print(table(measure(sys.argv[1:])))
