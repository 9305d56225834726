"""The tokenizer: byte-level byte-pair encoding, trained on the training text."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

__all__ = ["VOCABULARY", "train_tokenizer"]

VOCABULARY = 1024


def train_tokenizer(text, vocabulary=VOCABULARY):
    """`Tokenizer` of at most ``vocabulary`` tokens, 256 of them the bytes: every text has an encoding.

    There are no special tokens; a verse ends with its newline.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return tokenizer
