"""How well corrupted masks are told from clean ones."""
