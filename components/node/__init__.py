"""How a node is reached, and what runs on it."""
