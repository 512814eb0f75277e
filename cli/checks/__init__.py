"""Doctor's checks, by where they look. Each yields findings; what looks and what judges are apart, so that judging is pure."""
