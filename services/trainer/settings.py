"""Settings of the trainer, where it calls services: how those calls are encrypted.

All else is said on the command line; certificates belong to the machine.
"""

from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """The variables HOMEPAGE_TRAINER_UPSTREAM_TLS_CA, …_CERTIFICATE and …_KEY, as every service has them."""

    model_config = SettingsConfigDict(env_prefix="HOMEPAGE_TRAINER_", extra="ignore", frozen=True)
