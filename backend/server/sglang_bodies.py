"""Request bodies of SGLang's native protocol, as its front end sends them: nulls, empty lists and -1 mean "not given".

Fields that need what this server does not have are listed as such and refused when they are used.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .bodies import Body, Text, TokenId


class SamplingParams(Body):
    """SGLang's sampling parameters."""

    max_new_tokens: int | None = Field(None, ge=0)
    min_new_tokens: int | None = Field(None, ge=0)
    n: int | None = Field(None, ge=1, le=128)
    stop: str | list[str] | None = None
    stop_token_ids: list[TokenId] | None = None
    stop_regex: str | list[str] | None = None
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    ignore_eos: bool | None = None
    sampling_seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logit_bias: dict[str, float] | None = None
    regex: str | None = None
    json_schema: str | dict[str, Any] | None = None
    ebnf: str | None = None
    structural_tag: Any = None
    no_stop_trim: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    stream_interval: int | None = None
    custom_params: dict[str, Any] | None = None


class GenerateBody(Body):
    """`POST /generate`. A list of texts, of ids, or `n` > 1 is answered by a list."""

    text: Text | list[Text] | None = None
    input_ids: list[TokenId] | list[list[TokenId]] | None = None
    sampling_params: SamplingParams | list[SamplingParams] | None = None
    rid: str | list[str] | None = None
    stream: bool | None = None
    return_logprob: bool | list[bool] | None = None
    logprob_start_len: int | list[int] | None = None
    top_logprobs_num: int | list[int] | None = None
    return_text_in_logprobs: bool | None = None
    priority: int | None = Field(None, ge=-(2**31), lt=2**31)
    cache_salt: str | None = Field(None, max_length=1024)
    extra_key: str | None = Field(None, max_length=1024)
    log_metrics: bool | None = None
    image_data: Any = None
    video_data: Any = None
    audio_data: Any = None
    input_embeds: Any = None
    lora_path: Any = None
    session_id: Any = None
    session_params: Any = None
    custom_logit_processor: Any = None
    return_hidden_states: bool | None = None
    token_ids_logprob: Any = None


class AbortBody(Body):
    """`POST /abort_request`: end the request with exactly this id, or all of them."""

    rid: str | None = None
    abort_all: bool = False


UNSUPPORTED_FIELDS = (
    *("image_data", "video_data", "audio_data", "input_embeds", "lora_path", "session_id", "session_params"),
    *("custom_logit_processor", "return_hidden_states", "token_ids_logprob"),
)
UNSUPPORTED_PARAMS = ("ebnf", "structural_tag", "no_stop_trim", "custom_params")
