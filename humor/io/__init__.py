"""Files that are whole or not there, arrays that nobody vouches for, and checkpoints."""
