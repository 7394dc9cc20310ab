"""``python -m trio_socketio``."""

import sys

from trio_socketio.cli import main

sys.exit(main())
