"""The client: `connect` to a server or a recording; publish, follow, ask."""

from playhead.client.aio import AsyncClient
from playhead.client.api import Client
from playhead.client.status import ConnectionState
from playhead.client.target import connect

__all__ = ["AsyncClient", "Client", "ConnectionState", "connect"]
