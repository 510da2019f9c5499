"""What the ranker can be told."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AdminListen, Listen, MetricsListen, ServiceSettings


class RankerSettings(ServiceSettings):
    """Environment variables HOMEPAGE_RANKER_…"""

    model_config = SettingsConfigDict(env_prefix="HOMEPAGE_RANKER_", extra="ignore", frozen=True)

    listen: Listen = "127.0.0.1:50054"
    admin_listen: AdminListen = "127.0.0.1:50064"
    metrics_listen: MetricsListen = "127.0.0.1:9464"
    model: str = Field(
        "all-MiniLM-L6-v2",
        min_length=1,
        description="Base model: the packaged all-MiniLM-L6-v2, a folder, or a Hugging Face hub id (downloaded)",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to compute; auto = the GPU if there is one"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Number format of matrix products; bfloat16 is faster where the device has it"
    )
    threads: int = Field(
        1,
        ge=0,
        le=1024,
        description="Threads of one forward pass on the CPU; more pays only on cores that nothing else uses. "
        "0 = PyTorch's choice: all cores of the machine, whatever share of them a container has",
    )
    max_queue_tokens: int = Field(
        65_536,
        ge=1024,
        le=100_000_000,
        description="Tokens that may wait; beyond, calls are refused as overload (Embed calls from half of it on)",
    )
    max_batch_tokens: int = Field(1024, ge=64, le=1_000_000, description="Tokens of one batch of Rank calls")
    bulk_batch_tokens: int = Field(
        256, ge=64, le=1_000_000, description="Tokens of one batch of Embed calls; a Rank call waits for at most one"
    )
    vector_cache_bytes: int = Field(
        256 * 2**20,
        ge=0,
        le=2**40,
        description="Memory for vectors of items and user contexts, in bytes; about 2 kB each at width 384",
    )
