"""Regenerates the committed stubs: `python protos/generate.py`.

Every `.proto` below this folder becomes `_pb2.py`, `_pb2.pyi`, `_pb2_grpc.py` and `_pb2_grpc.pyi` beside it. The
versions of the generators are pinned in pyproject.toml, so everybody gets the same files; CI fails on a difference.
"""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def main() -> int:
    """Runs protoc over all contracts; returns its exit status."""
    import grpc_tools

    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    bundled = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{bundled}",
        f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).parent / 'protoc-gen-mypy_grpc'}",
    ]
    outputs = ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")
    prefixes = {"mypy_out": "quiet:", "mypy_grpc_out": "quiet:"}
    arguments += [f"--{output}={prefixes.get(output, '')}{ROOT}" for output in outputs]
    return int(protoc.main([*arguments, *protos]))


if __name__ == "__main__":
    sys.exit(main())
