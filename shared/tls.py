"""TLS and mutual TLS with certificates that may change on disk while the server runs."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from shared.settings import ServiceSettings, SettingsError


@dataclass(frozen=True, slots=True)
class _Files:
    certificate: Path
    key: Path
    client_ca: Path | None

    def stamp(self) -> tuple[int, ...]:
        """Changes when any of the files does."""
        paths = [self.certificate, self.key, *([self.client_ca] if self.client_ca else [])]
        return tuple(value for path in paths for value in (path.stat().st_mtime_ns, path.stat().st_ino))

    def read(self) -> grpc.ServerCertificateConfiguration:
        roots = self.client_ca.read_bytes() if self.client_ca else None
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """Credentials of the server, read again before a handshake when a file has changed; None = no TLS.

    A change that cannot be read (half written, key and certificate do not match yet) leaves the old pair in force.

    Raises:
        SettingsError: when only one of certificate and key is set, or a file cannot be read.
    """
    if settings.tls_certificate is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise SettingsError("tls_client_ca needs tls_certificate and tls_key: mutual TLS is TLS first")
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise SettingsError("tls_certificate and tls_key are set together or not at all")
    files = _Files(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    try:
        seen, first = [files.stamp()], files.read()
    except OSError as error:
        raise SettingsError(f"a TLS file cannot be read: {error.filename}") from None

    def changed() -> grpc.ServerCertificateConfiguration | None:
        try:
            stamp = files.stamp()
            if stamp == seen[0]:
                return None
            configuration = files.read()
        except OSError:
            return None
        seen[0] = stamp
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        first,
        changed,  # type: ignore[arg-type]  # None = unchanged, which the stubs do not know
        require_client_authentication=settings.tls_client_ca is not None,
    )


def channel_credentials(settings: ServiceSettings) -> grpc.ChannelCredentials | None:
    """Credentials for calls to other services; None = no TLS.

    Raises:
        SettingsError: when a file cannot be read.
    """
    if settings.upstream_tls_ca is None:
        return None
    try:
        return grpc.ssl_channel_credentials(
            settings.upstream_tls_ca.read_bytes(),
            settings.upstream_tls_key.read_bytes() if settings.upstream_tls_key else None,
            settings.upstream_tls_certificate.read_bytes() if settings.upstream_tls_certificate else None,
        )
    except OSError as error:
        raise SettingsError(f"a TLS file cannot be read: {error.filename}") from None
