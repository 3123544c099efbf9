"""Pure: from objects read, how far a growth is, the first thing that blocks it, and the next step."""
