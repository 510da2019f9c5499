"""TLS and mutual TLS on real connections, with certificates made for the test and changed under the running server."""

import asyncio
import ssl
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from homepage.profile.v1 import profile_pb2_grpc

from shared import tls
from shared.server import Runtime
from shared.settings import ServiceSettings, SettingsError
from tests.conftest import StartService
from tests.shared.answering import ANSWER, REQUEST, profile
from tests.shared.certificates import Authority, Pair
from tests.shared.conftest import BareChannel


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


async def code_through(address: str, **settings: Path) -> grpc.StatusCode:
    """The outcome of a call through a channel as services open it, with these settings."""
    async with Runtime(ServiceSettings(**settings)).channel(address) as channel:
        return await profile_pb2_grpc.ProfileStub(channel).GetProfile(REQUEST, timeout=5).code()


async def served_serial(address: str) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port), ssl=context), 5)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_calls_over_tls_are_answered_and_those_in_clear_are_refused(
    authority: Authority, start_service: StartService
):
    pair = authority.issue("server")
    host = await start_service(profile(), tls_certificate=pair.certificate, tls_key=pair.key)
    assert await code_through(host.address, upstream_tls_ca=authority.file) == grpc.StatusCode.OK
    assert await code_through(host.address) == grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_another_authority_signed_is_not_trusted(
    authority: Authority, tmp_path: Path, start_service: StartService
):
    pair = authority.issue("server")
    host = await start_service(profile(), tls_certificate=pair.certificate, tls_key=pair.key)
    stranger = Authority(tmp_path, "stranger")
    assert await code_through(host.address, upstream_tls_ca=stranger.file) == grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_lets_in_whom_the_authority_signed_and_nobody_else(
    authority: Authority, tmp_path: Path, start_service: StartService
):
    pair, client = authority.issue("server"), authority.issue("client")
    forged = Authority(tmp_path, "stranger").issue("forged")
    host = await start_service(
        profile(), tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=authority.file
    )

    async def code_as(who: Pair) -> grpc.StatusCode:
        return await code_through(
            host.address,
            upstream_tls_ca=authority.file,
            upstream_tls_certificate=who.certificate,
            upstream_tls_key=who.key,
        )

    assert await code_as(client) == grpc.StatusCode.OK
    assert await code_as(forged) == grpc.StatusCode.UNAVAILABLE
    assert await code_through(host.address, upstream_tls_ca=authority.file) == grpc.StatusCode.UNAVAILABLE


async def test_the_admin_port_stays_in_clear_for_probes(
    authority: Authority, start_service: StartService, bare_channel: BareChannel
):
    pair = authority.issue("server")
    host = await start_service(profile(), tls_certificate=pair.certificate, tls_key=pair.key)
    stub = health_pb2_grpc.HealthStub(bare_channel(host.admin_address))
    assert (
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    ).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_rotated_certificate_is_shown_to_the_next_connection_while_old_ones_live_on(
    authority: Authority, start_service: StartService
):
    first = authority.issue("server")
    host = await start_service(profile(), tls_certificate=first.certificate, tls_key=first.key)
    async with Runtime(ServiceSettings(upstream_tls_ca=authority.file)).channel(host.address) as channel:
        stub = profile_pb2_grpc.ProfileStub(channel)
        assert await stub.GetProfile(REQUEST) == ANSWER
        assert await served_serial(host.address) == first.serial
        second = authority.issue("server")
        assert await served_serial(host.address) == second.serial
        assert await stub.GetProfile(REQUEST) == ANSWER


async def test_half_written_files_and_keys_of_another_certificate_leave_the_old_pair_in_force(
    authority: Authority, start_service: StartService
):
    first = authority.issue("server")
    old_key = first.key.read_bytes()
    host = await start_service(profile(), tls_certificate=first.certificate, tls_key=first.key)
    second = authority.issue("server")
    new_key, new_certificate = second.key.read_bytes(), second.certificate.read_bytes()

    second.key.write_bytes(old_key)
    assert await served_serial(host.address) == first.serial
    second.key.write_bytes(new_key[: len(new_key) // 2])
    assert await served_serial(host.address) == first.serial
    second.key.unlink()
    assert await served_serial(host.address) == first.serial
    second.key.write_bytes(new_key)
    second.certificate.write_bytes(new_certificate[: len(new_certificate) // 2])
    assert await served_serial(host.address) == first.serial
    second.certificate.write_bytes(new_certificate)
    assert await served_serial(host.address) == second.serial


SERVER_NAMES = "TLS_CERTIFICATE, TLS_KEY, TLS_CLIENT_CA"
UPSTREAM_NAMES = "UPSTREAM_TLS_CERTIFICATE, UPSTREAM_TLS_KEY, UPSTREAM_TLS_CA"
NOT_PEM = "must be PEM files, and the key the one of the certificate"
WRONG = [
    ({"tls_certificate": "server.pem"}, "TLS_CERTIFICATE and TLS_KEY are set together or not at all"),
    ({"tls_key": "server.key"}, "TLS_CERTIFICATE and TLS_KEY are set together or not at all"),
    ({"tls_client_ca": "authority.pem"}, "TLS_CLIENT_CA needs TLS_CERTIFICATE and TLS_KEY: mutual TLS is TLS first"),
    ({"tls_certificate": "server.pem", "tls_key": "absent"}, "absent: No such file or directory"),
    ({"tls_certificate": "server.pem", "tls_key": "other.key"}, f"{SERVER_NAMES}: {NOT_PEM}"),
    ({"tls_certificate": "junk", "tls_key": "server.key"}, f"{SERVER_NAMES}: {NOT_PEM}"),
    (
        {"tls_certificate": "server.pem", "tls_key": "server.key", "tls_client_ca": "junk"},
        f"{SERVER_NAMES}: {NOT_PEM}",
    ),
    (
        {"upstream_tls_ca": "authority.pem", "upstream_tls_certificate": "server.pem"},
        "UPSTREAM_TLS_CERTIFICATE and UPSTREAM_TLS_KEY are set together or not at all",
    ),
    (
        {"upstream_tls_certificate": "server.pem", "upstream_tls_key": "server.key"},
        "UPSTREAM_TLS_CERTIFICATE needs UPSTREAM_TLS_CA: mutual TLS is TLS first",
    ),
    ({"upstream_tls_ca": "absent"}, "absent: No such file or directory"),
    ({"upstream_tls_ca": "junk"}, f"{UPSTREAM_NAMES}: {NOT_PEM}"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG)
def test_wrong_tls_settings_are_told_in_one_line_that_names_the_variables(
    wrong: dict[str, str], told: str, authority: Authority, tmp_path: Path
):
    authority.issue("server")
    authority.issue("other")
    (tmp_path / "junk").write_text("junk")
    settings = ServiceSettings(**{name: tmp_path / file for name, file in wrong.items()})
    with pytest.raises(SettingsError) as caught:
        tls.channel_credentials(settings) if next(iter(wrong)).startswith("upstream") else tls.server_credentials(
            settings
        )
    assert str(caught.value).replace(f"{tmp_path}/", "").endswith(told)
    assert len(str(caught.value).splitlines()) == 1


def test_without_tls_settings_there_are_no_credentials():
    settings = ServiceSettings()
    assert (tls.server_credentials(settings), tls.channel_credentials(settings)) == (None, None)
