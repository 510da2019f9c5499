"""LoRA adapters (Hu et al., 2021) as peft saves them, merged into a copy of the base.

Only what is understood is taken: a setting of the adapter that would change the result and is not listed below is
refused, rather than ignored. Weights come as safetensors, which hold numbers and nothing that could be run.
"""

import copy
import importlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safetensors.torch import load
from torch import Tensor
from transformers import BertModel

from shared.model.records import RecordError, parsed

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

_APPLIED = (
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias", "modules_to_save"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
)
_WITHOUT_EFFECT = (
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "lora_dropout", "init_lora_weights", "megatron_core", "qalora_group_size"),
)
"""Once trained, and as long as what they are options of is off."""
_PLAIN_STARTS = (True, False, "gaussian")
"""Values of init_lora_weights that leave the base as it is; others move part of its weights into the adapter."""


class AdapterError(ValueError):
    """An adapter that is not taken; the text says why and what to do."""


def import_peft() -> None:
    """Imports peft now, so that the first adapter need not wait: 0.2 to 0.3 s, and more from a cold disk."""
    importlib.import_module("peft")


def with_adapter(bert: BertModel, config: "PeftConfig") -> "PeftModel":
    """`bert` itself, with an adapter of this configuration in it that changes nothing yet."""
    from peft import PeftModel

    with warnings.catch_warnings():
        # peft asks transformers in words that transformers has renamed; whoever trains can do nothing about it.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        return PeftModel(bert, config)


def merged(bert: BertModel, config: bytes, weights: bytes) -> BertModel:
    """A copy of `bert` with the adapter merged; `bert` stays as it is.

    Args:
        bert: what the adapter was trained on.
        config: content of adapter_config.json.
        weights: content of adapter_model.safetensors.

    Raises:
        AdapterError: when it is no LoRA adapter, uses what is not supported, is damaged, or fits another model.
    """
    settings = _settings(config)
    tensors = _tensors(weights)
    import_peft()  # out of the way of what follows: without peft, no adapter is to blame
    try:
        return _merged(copy.deepcopy(bert), settings, tensors)
    except AdapterError:
        raise
    except Exception as error:  # peft lets through what its checks and PyTorch raise, of many types
        raise AdapterError("peft cannot load its adapter; save the adapter again with save_pretrained") from error


def _settings(config: bytes) -> Mapping[str, Any]:
    """The settings to apply, checked to be all that matter."""
    try:
        fields: Any = parsed(config)
    except RecordError as error:
        raise AdapterError("adapter_config.json is damaged; save the adapter again") from error
    if not isinstance(fields, dict) or fields.get("peft_type") != "LORA":
        raise AdapterError("its adapter is not of type LORA; train a LoRA adapter")
    if fields.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise AdapterError("its adapter's init_lora_weights changes the base; train from true, false or gaussian")
    others = sorted(name for name, value in fields.items() if value and name not in (*_APPLIED, *_WITHOUT_EFFECT))
    if others:
        raise AdapterError(f"its adapter uses {others[0]!r}, which is not supported; train it without")
    return {name: fields[name] for name in _APPLIED if name in fields}


def _tensors(weights: bytes) -> Mapping[str, Tensor]:
    try:
        tensors: Mapping[str, Tensor] = load(weights)
        finite = all(tensor.isfinite().all() for tensor in tensors.values())
    except Exception as error:  # of many types
        raise AdapterError("adapter_model.safetensors is not safetensors; save the adapter again") from error
    if not finite:
        raise AdapterError("its adapter has weights that are not finite; train it again")
    return tensors


def _merged(bert: BertModel, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> BertModel:
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

    model = with_adapter(bert, LoraConfig(**settings))
    # peft would keep random weights where tensors are missing, and skip those that fit nowhere.
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    if wanted.keys() != tensors.keys() or any(tensors[name].shape != wanted[name].shape for name in wanted):
        raise AdapterError("its adapter's weights do not fit the base's layers; train it on this base")
    set_peft_model_state_dict(model, dict(tensors))
    bare: Any = model.merge_and_unload()
    merged_bert: BertModel = bare.eval()
    return merged_bert
