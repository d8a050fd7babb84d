"""Makes the networks of this folder importable, and stops warnings of packages beside us."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
