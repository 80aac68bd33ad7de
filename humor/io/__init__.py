"""Files written whole or not at all, arrays from untrusted files, and checkpoints."""
