"""The settings of the service: read once from the environment, frozen, passed in."""

import ipaddress
from collections.abc import Mapping
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "I3REC_"
CLIENT_PREFIX = f"{PREFIX}CLIENT_"
SECRETS = Path("/run/secrets")  # where Docker, Compose and our Kubernetes chart put them

_SHORTEST_KEY = 16
_MOST_ENTRIES = 10_000  # of a list in a request: what is longer is not looked at, see service.api.bounds
_REDIS = ("redis://", "rediss://", "unix://")


def _split(value: object) -> object:
    return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError as exc:
        raise ValueError("expected addresses or networks, as 10.0.0.0/8, separated by commas") from exc


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]
# Secrets, so that a dump of the settings does not show them.
Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Everything that can be set; each field is read from the variable ``I3REC_<FIELD>`` (see ``docs/settings.md``)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=())

    model_store: Path = Field(description="Directory of the model store.")
    journal_url: str = Field(default="sqlite:///var/journal.sqlite3", description="SQLAlchemy URL of the journal.")
    checkpoints: Path | None = Field(
        default=None, description="Directory of the checkpoints; none = beside the journal's file, if it has one."
    )
    redis_url: str | None = Field(
        default=None, description="URL of the Redis feature cache; none = a cache in the process."
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 = any free one.")
    allow_public: bool = Field(default=False, description="Allow a host that is not loopback without keys.")
    trusted_proxies: Networks = Field(
        default=(), description="Addresses and networks whose X-Forwarded-For is believed, separated by commas."
    )
    max_connections: int = Field(
        default=1000, ge=1, description="Most connections at once; those that wait longest for a request make room."
    )
    head_timeout_s: float = Field(
        default=15.0, gt=0, description="How long a connection may take for the head of a request, seconds."
    )
    body_timeout_s: float = Field(
        default=20.0, gt=0, description="How long a body that is waited for may be silent, seconds."
    )

    read_keys: Keys = Field(default=(), description="Keys that may ask for lists and items, separated by commas.")
    write_keys: Keys = Field(default=(), description="Keys that may also write items and interactions.")
    admin_keys: Keys = Field(default=(), description="Keys that may also promote model versions.")
    rate_per_s: float = Field(
        default=0, ge=0, description="Requests a second of one key, or without keys of one address; 0 = no limit."
    )
    rate_burst: int = Field(default=100, ge=1, description="Requests of one key or address at once.")
    deadline_s: float = Field(default=30.0, gt=0, description="How long an answer may take to begin, seconds.")

    default_k: int = Field(default=20, ge=1, description="List length where a request names none.")
    max_k: int = Field(default=500, ge=1, description="Longest list a request may ask for.")
    max_exclude: int = Field(
        default=500, ge=0, le=_MOST_ENTRIES, description="Most ids a request may exclude, at most 10000."
    )
    max_history: int = Field(
        default=1000,
        ge=1,
        le=_MOST_ENTRIES,
        description="Most items of a user's history, or of a session's, that are looked at, at most 10000.",
    )
    max_explain: int = Field(default=50, ge=1, description="Longest list that is explained.")
    max_cursor: int = Field(
        default=1000, ge=1, le=3000, description="Most items that pages may lead past, at most 3000."
    )
    max_users: int = Field(default=100, ge=1, le=_MOST_ENTRIES, description="Most users in one request, at most 10000.")
    max_interactions: int = Field(
        default=1000, ge=1, le=_MOST_ENTRIES, description="Most interactions in one request, at most 10000."
    )
    max_batch_items: int = Field(default=1000, ge=1, description="Most items in one array.")
    max_page_items: int = Field(default=1000, ge=1, description="Most items on one page of the catalogue.")
    max_body_bytes: int = Field(
        default=4 << 20, ge=1, description="Largest request body, bytes; of a stream, largest line."
    )
    explore_every: int = Field(
        default=5,
        ge=0,
        description="In popular lists every so many-th place goes to a new item; 0 = new items come last.",
    )

    explore_share: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Share of the places in personal lists that new items get at least; up to 0.5.",
    )
    explore_impressions: int = Field(
        default=0, ge=0, description="A new item is tried until it was shown so often; 0 = as long as it is new."
    )

    encode_threads: int = Field(default=2, ge=1, description="Items encoded at the same time.")
    search_threads: int = Field(default=2, ge=1, description="Searches that run at the same time.")
    search_at_once_ms: float = Field(
        default=0.5,
        ge=0,
        description="Searches that should take no longer together are made between requests, not on threads; 0 = none.",
    )
    write_threads: int = Field(default=4, ge=1, description="Index updates that run at the same time.")
    write_at_once_ms: float = Field(
        default=1.0,
        ge=0,
        description="Encodings and index updates of one item that should take no longer are made between requests, not "
        "on threads; 0 = none.",
    )
    max_waiting: int = Field(default=200, ge=1, description="Requests that may wait for an encoding, or for a search.")
    remembered_lists: int = Field(
        default=100_000,
        ge=0,
        description="Lists each version keeps in memory for users who ask again, some 0.8 KiB each; 0 = none.",
    )
    warm_lists: bool = Field(
        default=True, description="Search for the lists of known users before they ask, most active first."
    )
    index_engine: Literal["exact", "ivf", "hnsw", "gpu-fp16", "gpu-fp32", "gpu-cagra"] = Field(
        default="exact", description="What searches the catalogue."
    )
    index_recall: float = Field(
        default=0.99, gt=0, le=1, description="Recall an approximate engine must show before it is used."
    )
    index_check_every: int = Field(
        default=1000,
        ge=0,
        description="Of so many searches of an approximate engine one is compared with an exact one; 0 = none.",
    )
    onnx_provider: Literal["cpu", "cuda"] = Field(default="cpu", description="What runs the encoder.")
    onnx_threads: int = Field(default=1, ge=1, description="Threads inside one encoding.")
    faiss_threads: int = Field(default=1, ge=1, description="Threads inside one search.")

    journal_timeout_s: float = Field(
        default=5.0, gt=0, description="How long a write waits for a locked journal, seconds."
    )
    keep_models: int = Field(
        default=1, ge=0, description="Versions that served before and are kept in memory, to go back to at once."
    )
    compact_every_s: float = Field(
        default=3600, ge=0, description="How often records that later ones have made void are removed; 0 = never."
    )
    checkpoint_every_s: float = Field(
        default=300,
        ge=0,
        description="How often it is kept what was written, so that the next start is quick, seconds; 0 = never.",
    )
    cache_ttl_s: int = Field(default=7 * 24 * 3600, ge=1, description="Life of a cached encoding in Redis, seconds.")
    cache_timeout_s: float = Field(default=0.1, gt=0, description="How long Redis is waited for, seconds.")
    cache_max_items: int = Field(default=100_000, ge=1, description="Most encodings kept by the cache in the process.")
    model_poll_s: float = Field(default=2.0, gt=0, description="How often CURRENT is looked at, seconds.")
    follow_poll_s: float = Field(
        default=0.5, gt=0, description="How often it is looked what other processes wrote, seconds."
    )
    read_wait_s: float = Field(
        default=2.0, ge=0, description="How long a list waits for the record its X-Index-Seq names, seconds."
    )
    shutdown_timeout_s: int = Field(
        default=10, ge=0, description="How long open requests may finish at shutdown, seconds."
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is logged."
    )
    log_json: bool = Field(default=True, description="Log JSON, one object a line; otherwise plain text.")

    trace_endpoint: str | None = Field(
        default=None, description="URL that takes traces (OTLP over HTTP, protobuf); none = nothing is traced."
    )
    trace_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of the traces that begin here and are recorded."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Files before variables: an image may bring a variable, but a secret is put there on purpose."""
        return init_settings, file_secret_settings, env_settings

    @field_validator("model_store", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value == "":  # which would be the working directory
            raise ValueError("expected the path of a directory")
        return value

    @field_validator("redis_url")
    @classmethod
    def _addressed(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(_REDIS):
            raise ValueError(f"expected an address that begins with {', '.join(_REDIS[:-1])} or {_REDIS[-1]}")
        return value

    @field_validator("journal_url")
    @classmethod
    def _durable(cls, value: str) -> str:
        scheme, _, path = value.partition(":///")
        file = scheme.partition("+")[0] == "sqlite" and path and not path.startswith(":memory:")
        if not file and not value.startswith("postgresql+psycopg://"):
            raise ValueError(
                "expected sqlite:///PATH, a file: a journal must outlive the process; or postgresql+psycopg://…"
            )
        return value

    @field_validator("trace_endpoint")
    @classmethod
    def _traceable(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected an address that begins with http:// or https://")
        if value is not None and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError("traces need OpenTelemetry: pip install '.[trace]'")
        return value

    @field_validator("read_keys", "write_keys", "admin_keys")
    @classmethod
    def _long_enough(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < _SHORTEST_KEY for key in value):
            raise ValueError(f"expected keys of at least {_SHORTEST_KEY} characters: shorter ones can be guessed")
        return value

    @property
    def has_keys(self) -> bool:
        """Whether callers must have a key."""
        return bool(self.read_keys or self.write_keys or self.admin_keys)

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.default_k > self.max_k:
            raise ValueError(f"default_k ({self.default_k}) must not exceed max_k ({self.max_k})")
        if not self.allow_public and not self.has_keys and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is reachable from outside and the service has no keys: "
                f"set {PREFIX}READ_KEYS, {PREFIX}WRITE_KEYS and {PREFIX}ADMIN_KEYS, use 127.0.0.1, or set "
                f"{PREFIX}ALLOW_PUBLIC=true where something else guards the port"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def explain(error: ValidationError) -> str:
    """What is wrong with the environment, one line for each setting, without the values (they may hold passwords)."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = "".join(f"{PREFIX}{part}".upper() for part in problem["loc"][:1]) or "settings"
        message = "required, but not set" if problem["type"] == "missing" else problem["msg"]
        lines.append(f"{name}: {message.removeprefix('Value error, ')}")
    return "\n".join(lines)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The variables with our prefix that no setting answers to: probably misspelt. Those of the client are not ours."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    ours = (name for name in environment if name.upper().startswith(PREFIX))
    return sorted(name for name in ours if name.upper() not in known and not name.upper().startswith(CLIENT_PREFIX))
