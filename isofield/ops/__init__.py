"""Fast device operators, torch only, each beside its plain reference."""
