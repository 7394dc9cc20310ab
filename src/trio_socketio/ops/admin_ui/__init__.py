"""The official Admin UI of Socket.IO: the namespace that it connects to, and its pages."""

from trio_socketio.ops.admin_ui.options import AdminUIOptions
from trio_socketio.ops.admin_ui.service import AdminUI, AdminUIStatistics

__all__ = ["AdminUI", "AdminUIOptions", "AdminUIStatistics"]
