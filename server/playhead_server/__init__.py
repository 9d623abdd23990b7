"""The small server: takes events in, keeps them in a recording, streams them by WebSocket and SSE."""
