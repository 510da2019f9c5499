"""A tiny random BERT in a folder, with a WordPiece vocabulary in which every lower-case word can be spelt."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("bicycle", "race", "bank", "interest", "rates", "sport", "news", "money", "the", "of", "new")


def write_tiny_bert(folder: Path, *, layers: int = 3, positions: int = 192, seed: int = 0, signs: str = "") -> Path:
    """Writes config.json, model.safetensors and tokenizer.json; returns the folder. `signs`: more, one token each."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*SPECIAL, *WORDS, ".", *letters, *(f"##{letter}" for letter in letters), *signs]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.2,  # wide, so that the user's influence is far above rounding
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
