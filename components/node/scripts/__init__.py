"""What runs on nodes: scripts in bash, their parts, and the programs that they start, for Python 3.9 without further packages."""
