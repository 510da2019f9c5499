"""Settings of the orchestrator."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.settings import AdminListen, Listen, MetricsListen, ServiceSettings


class OrchestratorSettings(ServiceSettings):
    """Environment variables HOMEPAGE_ORCHESTRATOR_…"""

    model_config = SettingsConfigDict(env_prefix="HOMEPAGE_ORCHESTRATOR_", extra="ignore", frozen=True)

    listen: Listen = "127.0.0.1:50051"
    admin_listen: AdminListen = "127.0.0.1:50061"
    metrics_listen: MetricsListen = "127.0.0.1:9461"
    max_concurrent_calls: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Calls handled at once at most; more are refused, so that those taken end soon",
    )
    least_concurrent_calls: int = Field(
        4,
        ge=0,
        le=100_000,
        description="How low the limit of calls at once falls while calls end late; it rises as they end in time. "
        "0 = it is fixed",
    )
    max_waiting_calls: int = Field(
        32, ge=1, le=100_000, description="Calls that wait until the server looks at them; more are refused by gRPC"
    )
    default_deadline_s: float = Field(
        0.5, gt=0, le=60, description="Time limit of a call that comes without a deadline, in seconds"
    )
    longest_page_s: float = Field(
        5.0, gt=0, le=60, description="Time a page may take, however long the caller would wait, in seconds"
    )
    profile_address: str = Field(
        "127.0.0.1:50052", min_length=1, description="The profile service, host:port or dns:///name:port"
    )
    retrieval_address: str = Field(
        "127.0.0.1:50053", min_length=1, description="The retrieval service, host:port or dns:///name:port"
    )
    ranker_address: str = Field(
        "127.0.0.1:50054", min_length=1, description="The ranker service, host:port or dns:///name:port"
    )
    token_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys of item and page tokens, at least 16 characters each, separated by commas; the first signs, "
        "all verify. Empty = a random one: tokens end with the process and are not shared by replicas",
    )
    token_age_s: float = Field(
        30 * 86_400.0, gt=0, le=3e8, description="Age at which an item's token is refused as feedback, in seconds"
    )
    candidates: int = Field(200, ge=100, le=1000, description="Candidates asked of retrieval for a page")
    history: int = Field(200, ge=1, le=500, description="Events of the user that a page is made from")
    popular_refresh_s: float = Field(
        30.0, ge=1, le=3600, description="Time between refreshes of the list shown while retrieval is away, in seconds"
    )
    weight_popularity: float = Field(1.0, ge=0, le=10, description="Weight of relative popularity on the logit scale")
    weight_interest: float = Field(0.8, ge=0, le=10, description="Weight of interest in a category on the logit scale")
    freshness_half_life_s: float = Field(
        2 * 86_400.0, gt=0, le=3e8, description="Age at which an item counts as half as fresh, in seconds"
    )
