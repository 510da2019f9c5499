"""What the ranker can be told."""

from pathlib import Path
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
    registry: Path | None = Field(
        None, description="Folder of model versions, watched for changes; without it the base's zero-shot model answers"
    )
    require_models: bool = Field(
        False,
        description="Refuse to start unless all that the registry wants can be loaded; else the base's zero-shot model "
        "stands in, and what failed is tried again",
    )
    registry_poll_s: float = Field(2.0, ge=0.05, le=3600, description="Seconds between two looks at the registry")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to compute; auto = the GPU if there is one"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Number format of weights and hidden states; auto = bfloat16 where one layer of the model, timed "
        "at start, is clearly faster in it",
    )
    threads: int = Field(
        1,
        ge=0,
        le=1024,
        description="Threads of one forward pass on the CPU; more pays only on cores that nothing else uses. "
        "0 = PyTorch's choice: all cores of the machine, whatever share of them a container has",
    )
    max_queue_tokens: int = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="Tokens that may wait; beyond, calls are refused as overload (Embed calls from half of it on). "
        "0 = 64 batches, at least 65,536 tokens",
    )
    max_batch_tokens: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Tokens of one batch of Rank calls, at least 64. 0 = the smallest batch that uses the device "
        "nearly fully, measured at start",
    )
    bulk_batch_tokens: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Tokens of one batch of Embed calls, at least 64; a Rank call waits for at most one. "
        "0 = a quarter of a batch of Rank calls",
    )
    item_cache_bytes: int = Field(
        256 * 2**20,
        ge=0,
        le=2**40,
        description="Memory for what is known of items whoever the user is, in bytes: about 2 kB an item for vectors, "
        "20 kB (float32: 40 kB) for hidden states, at width 384; hidden states stay in a GPU's memory",
    )
    context_cache_bytes: int = Field(
        128 * 2**20,
        ge=0,
        le=2**40,
        description="Memory for what is known of users' contexts, in bytes: 2 kB a user for vectors, else 0.2 MB "
        "(float32: 0.4 MB) for each layer above the split at width 384; in a GPU's memory",
    )
    context_cache_idle_s: float = Field(
        300.0, ge=0.1, le=86_400, description="Seconds after which a user's context that was not used is forgotten"
    )
    token_cache_bytes: int = Field(64 * 2**20, ge=0, le=2**40, description="Memory for token ids of texts, in bytes")
    idle_probe_s: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="Seconds without work after which a small forward pass tells whether the device still answers; "
        "health follows it. 0 = only while it does not",
    )
    hang_s: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds after which a batch that has not ended counts as a device that does not answer. 0 = never",
    )
