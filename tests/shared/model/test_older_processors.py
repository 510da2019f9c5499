"""A processor without the newest instructions: what it cannot multiply fast it multiplies all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared.model.tiny_bert import write_tiny_bert

PROGRAM = """
import sys
from shared.model.base import load_base
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.zero_shot import zero_shot_model
base = load_base(sys.argv[1])
for dtype in ("float32", "bfloat16"):
    model = zero_shot_model(base, PackedBert(base.bert, Placement("cpu", dtype)))
    print(*model.vectors(model.encode_items([(5, 6, 7)]))[0][:5].tolist())
"""


def test_vectors_are_the_same_without_avx_512(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(write_tiny_bert(tmp_path / "tiny"))]
    found = []
    for limit in ({}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}):
        run = subprocess.run(command, env={**os.environ, **limit}, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        found.append([[float(number) for number in line.split()] for line in run.stdout.splitlines()])
    (full, half), (older_full, older_half) = found
    assert older_full == pytest.approx(full, abs=1e-5)
    assert older_half == pytest.approx(half, abs=1e-2)
