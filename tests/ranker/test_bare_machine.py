"""The ranker's core and its benchmark need PyTorch, transformers, peft, safetensors and numpy, and nothing else."""

import subprocess
import sys

BLOCKED = ("google", "grpc", "hnswlib", "homepage", "opentelemetry", "prometheus_client", "pydantic", "rich", "typer")
IMPORTED = ("services.ranker.ranking", "services.ranker.switching", "services.ranker.budget")


def test_nothing_else_is_imported() -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))"
    imports = "; ".join(f"import {module}" for module in (*IMPORTED, "tests.benchmarks.rank.__main__"))
    run = subprocess.run([sys.executable, "-c", f"{block}; {imports}"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
