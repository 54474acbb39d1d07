"""`Settings`: everything `ramify serve` can be told; flags go before the environment, a TOML file and the defaults.

Only facts and their bounds; who uses them is elsewhere. Environment names are `RAMIFY_` and the name in capitals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from ...lang.errors import ParameterError

ENGINE_FIELDS = (
    *("model", "dtype", "device", "max_total_tokens", "max_running", "page_size", "chunked_prefill_size"),
    *("radix_cache", "policy", "grammar", "num_threads", "seed"),
)


class Settings(BaseSettings):
    """The settings of a server; see `ramify config --show` for where each value comes from."""

    model_config = SettingsConfigDict(env_prefix="RAMIFY_", extra="forbid", frozen=True, validate_default=False)

    model: str | None = Field(None, description="Folder or hub id of the model; none: the embedded model.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="Type of the weights.")
    device: str = Field("auto", description="auto, cpu or cuda[:n].")
    max_total_tokens: int | None = Field(None, ge=1, description="Tokens of KV memory; none: what fits.")
    max_running: int = Field(64, ge=1, le=4096, description="Sequences in one batch.")
    page_size: int = Field(1, ge=1, le=1024, description="Tokens of a page of KV memory.")
    chunked_prefill_size: int = Field(512, ge=1, description="Most prompt tokens of one step.")
    radix_cache: bool = Field(True, description="Keep prefixes for later requests.")
    policy: str = Field("aged-lpm", description="Order of admission.")
    grammar: str = Field("auto", description="Plugin that enforces constraints.")
    num_threads: int | None = Field(None, ge=1, description="Threads of the model's computation.")
    seed: int = Field(0, description="For requests that bring none.")

    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless you say otherwise.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    served_model_name: str | None = Field(None, description="Name clients see; none: the model's own.")
    api_key: SecretStr | None = Field(None, description="Key that clients must send as a bearer token.")
    lenient: bool = Field(False, description="Accept requests with unknown fields.")

    max_body_bytes: int = Field(8 << 20, ge=1024, description="Largest request body.")
    body_timeout: float = Field(30.0, gt=0, description="Seconds for a body to arrive.")
    max_queued_requests: int = Field(1024, ge=1, description="Open requests; more get 503.")
    max_queued_tokens: int = Field(1 << 20, ge=1, description="Prompt tokens of open requests; more get 503.")
    max_tokens_limit: int = Field(32768, ge=1, description="Most tokens one request may ask for.")
    max_run_tokens: int = Field(1 << 20, ge=1, description="Most tokens one run of a shipped program may generate.")
    max_rows: int = Field(1024, ge=1, description="Most rows of one graph request, prompts of one completion.")
    request_timeout: float = Field(600.0, gt=0, description="Seconds after which any request ends.")
    watchdog: float = Field(60.0, gt=0, description="Seconds without a step after which the engine counts as stuck.")
    drain_timeout: float = Field(30.0, ge=0, description="Seconds that open requests get at shutdown.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field("info", description="What is logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file."""
        toml = TomlConfigSettingsSource(settings_cls) if settings_cls.model_config.get("toml_file") else None
        return tuple(source for source in (init_settings, env_settings, toml) if source is not None)

    @property
    def engine_options(self) -> dict[str, Any]:
        """The arguments of `Engine`."""
        return {name: getattr(self, name) for name in ENGINE_FIELDS}


def load_settings(flags: dict[str, Any], file: Path | None = None) -> Settings:
    """Return the settings. `flags` holds what was given on the command line.

    Raises `ParameterError` naming every setting that is wrong, and a file that cannot be read.
    """
    kind = Settings
    if file is not None:
        if not file.is_file():
            raise ParameterError(f"there is no config file {file}")

        class WithFile(Settings):
            model_config = SettingsConfigDict(toml_file=file)

        kind = WithFile
    try:
        return kind(**flags)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ParameterError("settings that cannot be: " + "; ".join(lines)) from error
    except ValueError as error:  # broken TOML
        raise ParameterError(f"{file}: {error}") from error
