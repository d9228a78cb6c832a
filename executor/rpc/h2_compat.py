"""Make purerpc 0.8.0 importable with h2 4.x, which dropped an old name for one of its events.

The package imports this module first, so that it runs before purerpc whichever of our modules is imported.
"""

import h2.events

h2.events.PingAcknowledged = h2.events.PingAckReceived
