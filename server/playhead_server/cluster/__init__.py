"""
Many servers, one log: a Redis stream numbers events, and every server follows it into a recording of its own.

::

    POST -> publisher --append (log)--> Redis stream --read--> follower -> recording -> fanout -> readers of this server
               |  Redis is away                                 ^   |
               +-> outbox (durable, provisional) --- drained ---+   +- behind the stream's start: rows of a peer

`scripts` is the log in Redis, each step in Lua, `log` the same in Python's words, `link` the way there. `publisher` gives a
request's events their seqs, or keeps them in the `outbox`; `follower` is the thread that joins the log, applies it and says
when something is wrong; `joining` decides what of a recording belongs to the log, and makes a lost one whole; `peers` is how
servers give each other what is older; `cluster` is all of it for the rest of a server.
"""
