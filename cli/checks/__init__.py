"""Doctor's checks, by what they observe. Each yields findings; observing and assessing are apart, so that assessing is pure."""
