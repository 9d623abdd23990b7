"""The client: `connect` to a server or a recording; publish, follow, ask."""

from playhead.client.aio import AsyncClient
from playhead.client.api import Client
from playhead.client.connect import connect
from playhead.client.status import ConnectionState

__all__ = ["AsyncClient", "Client", "ConnectionState", "connect"]
