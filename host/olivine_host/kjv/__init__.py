"""The default language model: a small GPT-2 of the King James Bible, and how it was trained."""
