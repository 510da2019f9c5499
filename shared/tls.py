"""TLS and mutual TLS with certificates that may change on disk while the server runs."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from shared.settings import ServiceSettings, SettingsError, variable


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
        _check(self.certificate, self.key, self.client_ca)
        roots = self.client_ca.read_bytes() if self.client_ca else None
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """Credentials of the server, read again before a handshake when a file has changed; None = no TLS.

    A change that cannot be read (half written, key and certificate do not match yet) leaves the old pair in force.

    Raises:
        SettingsError: when only one of certificate and key is set, or a file cannot be used.
    """
    names = [variable(type(settings), field) for field in ("tls_certificate", "tls_key", "tls_client_ca")]
    if settings.tls_certificate is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise SettingsError(f"{names[2]} needs {names[0]} and {names[1]}: mutual TLS is TLS first")
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise SettingsError(f"{names[0]} and {names[1]} are set together or not at all")
    files = _Files(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    try:
        seen, first = [files.stamp()], files.read()
    except OSError as error:
        raise _unusable(names, error) from None

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
        SettingsError: when certificate, key and authority do not make a set, or a file cannot be used.
    """
    fields = ("upstream_tls_certificate", "upstream_tls_key", "upstream_tls_ca")
    names = [variable(type(settings), field) for field in fields]
    certificate, key, authority = (
        settings.upstream_tls_certificate,
        settings.upstream_tls_key,
        settings.upstream_tls_ca,
    )
    if (certificate is None) != (key is None):
        raise SettingsError(f"{names[0]} and {names[1]} are set together or not at all")
    if authority is None:
        if certificate is not None:
            # Without this the calls would go out in clear, though somebody took care to encrypt them.
            raise SettingsError(f"{names[0]} needs {names[2]}: mutual TLS is TLS first")
        return None
    try:
        _check(certificate, key, authority)
        return grpc.ssl_channel_credentials(
            authority.read_bytes(),
            key.read_bytes() if key else None,
            certificate.read_bytes() if certificate else None,
        )
    except OSError as error:
        raise _unusable(names, error) from None


def _check(certificate: Path | None, key: Path | None, authority: Path | None) -> None:
    """Tries the files on Python's own TLS; gRPC would fail later, and without a reason.

    Raises:
        OSError: when a file cannot be read; its child ssl.SSLError when what is in it does not serve.
    """
    for path in filter(None, (certificate, key, authority)):
        path.read_bytes()  # an error from here names the file; one from the ssl module does not
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate is not None:
        context.load_cert_chain(certificate, key, password="")
    if authority is not None:
        context.load_verify_locations(authority)


def _unusable(names: list[str], error: OSError) -> SettingsError:
    if isinstance(error, ssl.SSLError):
        return SettingsError(f"{', '.join(names)}: must be PEM files, and the key the one of the certificate")
    return SettingsError(f"{', '.join(names)}: {error.filename}: {error.strerror}")
