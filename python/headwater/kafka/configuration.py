"""How to reach a cluster: addresses, encryption, and who one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from dataclasses import field as _field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from headwater.errors import InvalidOperation

__all__ = ["ConnectionConfig"]

SecurityProtocol: TypeAlias = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
SaslMechanism: TypeAlias = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_PREFIXES = ("kafka://", "kafka+ssl://")


def _secret() -> str | None:
    """Make the default of a field whose value is never shown."""
    return _field(default=None, repr=False)


@dataclass(frozen=True)
class ConnectionConfig:
    """How to reach a cluster; its fields are librdkafka's settings, with underscores.

    Passwords and keys are never shown.

    Parameters
    ----------
    bootstrap_servers
        The brokers to begin with, ``host:port,host:port``.
    security_protocol
        ``"plaintext"``, ``"ssl"``, ``"sasl_plaintext"`` or ``"sasl_ssl"``.
    sasl_mechanism
        ``"PLAIN"``, ``"SCRAM-SHA-256"``, ``"SCRAM-SHA-512"`` or ``"OAUTHBEARER"``.
    sasl_username, sasl_password
        For PLAIN and SCRAM.
    oauth_cb, sasl_oauthbearer_config
        For OAUTHBEARER: a function of ``sasl_oauthbearer_config`` that returns a
        token and when it expires, in seconds since 1970.
    ssl_ca_location, ssl_ca_pem, ssl_certificate_location, ssl_certificate_pem,
    ssl_key_location, ssl_key_password, ssl_key_pem, ssl_keystore_location,
    ssl_keystore_password
        Certificates and keys, as files or as texts.
    ssl_endpoint_identification_algorithm
        ``"https"`` checks the brokers' names, which is the default.

    Examples
    --------
    >>> ConnectionConfig("broker:9093", "sasl_ssl", "PLAIN", "ada", "hush").sasl_username
    'ada'
    >>> "hush" in repr(ConnectionConfig("broker:9093", sasl_password="hush"))
    False
    """

    bootstrap_servers: str
    security_protocol: SecurityProtocol | None = None
    sasl_mechanism: SaslMechanism | None = None
    sasl_username: str | None = None
    sasl_password: str | None = _secret()
    sasl_oauthbearer_config: str | None = _secret()
    oauth_cb: Callable[[str], tuple[str, float]] | None = None
    ssl_ca_location: str | Path | None = None
    ssl_ca_pem: str | None = _secret()
    ssl_certificate_location: str | Path | None = None
    ssl_certificate_pem: str | None = _secret()
    ssl_key_location: str | Path | None = None
    ssl_key_password: str | None = _secret()
    ssl_key_pem: str | None = _secret()
    ssl_keystore_location: str | Path | None = None
    ssl_keystore_password: str | None = _secret()
    ssl_endpoint_identification_algorithm: Literal["https", "none"] | None = None

    def as_librdkafka_dict(self) -> dict[str, str]:
        """Give the settings by librdkafka's names, without those that are not set.

        Examples
        --------
        >>> ConnectionConfig("broker:9093", security_protocol="ssl").as_librdkafka_dict()
        {'bootstrap.servers': 'broker:9093', 'security.protocol': 'ssl'}
        """
        names = [field.name for field in fields(self) if field.name != "oauth_cb"]
        values = {name.replace("_", "."): getattr(self, name) for name in names}
        return {name: str(value) for name, value in values.items() if value is not None}


class Connection(NamedTuple):
    """A cluster and how to behave there, for the engine."""

    brokers: str
    settings: dict[str, str]
    oauth_cb: Callable[[str], tuple[str, float]] | None
    is_exactly_once: bool
    is_consumer_protocol: bool
    group_instance_id: str | None
    directory: Path
    commit_interval: float | None


def connection_of(address: str | ConnectionConfig) -> ConnectionConfig:
    """Make a configuration of an address, ``host:port,...`` or ``kafka://host:port``."""
    if isinstance(address, ConnectionConfig):
        return address
    if not isinstance(address, str) or not address.strip():
        msg = f'broker_address is "host:port" or a ConnectionConfig, not {address!r}'
        raise InvalidOperation(msg)
    for prefix in _PREFIXES:
        if address.startswith(prefix):
            is_encrypted = prefix == "kafka+ssl://"
            servers = address.removeprefix(prefix).rstrip("/")
            return ConnectionConfig(servers, security_protocol="ssl" if is_encrypted else None)
    if "://" in address:
        msg = f'broker_address is "host:port" or "kafka://host:port", not {address!r}'
        raise InvalidOperation(msg)
    return ConnectionConfig(address)
