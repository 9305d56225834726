"""What a transformer does between its linear layers and attention: a P-lane unit over words ``[channel][row]``."""
