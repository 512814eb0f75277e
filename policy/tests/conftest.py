"""The pack is run as a folder, so its modules are found in it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
