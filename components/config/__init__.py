"""What a stack's configuration says and what follows from it. Pure: no network, no clock; only `artifacts` reads files."""
