"""
The log in Redis: its keys, and the scripts that change them, each in one atomic step.

For a log named ``main`` (all keys of one log share a slot of a Redis Cluster)::

    playhead:{main}:log            stream: an entry a batch of events, ``<seq of its last>-0``:
                                     d  the events (`Stored.packed`, zstd)   n  how many   e  epoch   t  tag   x  expiry, ms
                                     b  bytes of all d so far
                                   and, as ``<head>-<n>``, c  what every server is to do there: {"n", "than", "whose", "behind"}
    playhead:{main}:about          hash: epoch, generation, head, known, bytes, secret, lineage, controls; lost once noticed
    playhead:{main}:ids:<epoch>:<k>  sets: the ids of events behind ``known``, 16 bytes and the organisation each
    playhead:{main}:sent           hash: of each server the number, first and last seq of its latest batch
    playhead:{main}:servers        hash: of each server {"url", "at", "seen"}
    playhead:{main}:claims         hash: while the log is lost, of each server what it holds of it
    playhead:{main}:controls       list: every ``c``, with the seq it was given behind

A batch has its seqs only if the server that sends it is of this epoch, and nothing in it is in the log: the server has
looked in its own recording up to ``checked``, the script looks in what came since. The same (server, number) again is
answered as it was the first time.
"""

from __future__ import annotations

KEPT, KEPT_BYTES = 100_000, 64 * 2**20  # events that stay in the stream for a server that comes back soon
MOST, MOST_BYTES = 1_000_000, 512 * 2**20  # that it holds at most, however slow a server is
DEAD_MS = 10_000  # a server that was not heard of for so long holds up nobody
_BUCKET = 16_384  # seqs that share a set of ids
_FORGOTTEN_MS = 3_600_000
_CLAIM_MS = 3_000

_HELPERS = f"""
local BUCKET, CLAIM_MS = {_BUCKET}, {_CLAIM_MS}
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function in_parts(n, what)
  for first = 1, n, 5000 do what(first, math.min(n, first + 4999)) end
end
local function winner(claims, moment)
  local best
  for i = 1, #claims, 2 do
    local g, h, seen = string.match(claims[i + 1], '(%d+) (%d+) (%d+)')
    if g and moment - seen < CLAIM_MS then
      local one = {{tonumber(g), tonumber(h), claims[i]}}
      if not best or one[1] > best[1] or (one[1] == best[1] and (one[2] > best[2] or
        (one[2] == best[2] and one[3] > best[3]))) then best = one end
    end
  end
  return best
end
"""

# KEYS about log sent; ARGV epoch server number checked looks count tag expires ids owners are_many data prefix seen
APPEND = _HELPERS + """
local about = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'known', 'lost')
if not about[1] or about[4] then return {'lost'} end
if about[1] ~= ARGV[1] then return {'epoch'} end
local head, known = tonumber(about[2]), tonumber(about[3])
local sent = redis.call('HGET', KEYS[3], ARGV[2])
if sent then
  local number, first, last = string.match(sent, '(%d+) (%d+) (%d+)')
  if number == ARGV[3] then return {'done', tonumber(first), tonumber(last)} end
  if tonumber(number) > tonumber(ARGV[3]) then return {'late'} end  -- it was on its way for long, and is sent again
end
local checked, count = tonumber(ARGV[4]), tonumber(ARGV[6])
if tonumber(ARGV[14]) > head then return {'lost'} end
local owners = ARGV[10]
if ARGV[11] == '1' then owners = cmsgpack.unpack(owners) end
local members = {}
for i = 1, count do
  members[i] = string.sub(ARGV[9], 16 * i - 15, 16 * i) .. (ARGV[11] == '1' and owners[i] or owners)
end
local prefix = ARGV[13] .. ARGV[1] .. ':'
if ARGV[5] == '1' and checked < head then
  if checked < known then return {'behind'} end
  local found, is_found = {'known', head}, {}
  for bucket = math.floor((checked + 1) / BUCKET), math.floor(head / BUCKET) do
    in_parts(count, function(first, last)
      local there = redis.call('SMISMEMBER', prefix .. bucket, unpack(members, first, last))
      for i, is_there in ipairs(there) do
        local place = first + i - 1
        if is_there == 1 and not is_found[place] then
          is_found[place] = true
          found[#found + 1] = place - 1
        end
      end
    end)
  end
  if #found > 2 then return found end
end
local last = head + count
local key = prefix .. math.floor(last / BUCKET)
in_parts(count, function(a, b) redis.call('SADD', key, unpack(members, a, b)) end)
redis.call('EXPIRE', key, 86400)
local size = redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[12])
redis.call('XADD', KEYS[2], string.format('%.0f-0', last), 'd', ARGV[12], 'n', ARGV[6], 'e', ARGV[1], 't', ARGV[7],
  'x', ARGV[8], 'b', string.format('%.0f', size))
redis.call('HSET', KEYS[1], 'head', string.format('%.0f', last))
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3] .. string.format(' %.0f %.0f', head + 1, last))
return {'done', head + 1, last}
"""

# KEYS about log servers sent; ARGV epoch server at url prefix kept most kept_bytes most_bytes. What makes room comes first:
# where Redis is full, nothing may be written before.
BEAT = _HELPERS + f"""
local about = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'known', 'lost', 'bytes')
if not about[1] or about[4] then return {{'lost'}} end
if about[1] ~= ARGV[1] then return {{'epoch'}} end
local head, known, at, moment = tonumber(about[2]), tonumber(about[3]), tonumber(ARGV[3]), now()
if at > head then return {{'lost'}} end
local least, furthest = at, at
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local one = cjson.decode(all[i + 1])
  if moment - one.seen > {_FORGOTTEN_MS} then
    redis.call('HDEL', KEYS[3], all[i])
    redis.call('HDEL', KEYS[4], all[i])
  elseif moment - one.seen < {DEAD_MS} and all[i] ~= ARGV[2] then
    least, furthest = math.min(least, one.at), math.max(furthest, one.at)
  end
end
local cut = math.max(math.min(least, head - ARGV[6]), math.min(furthest, head - ARGV[7]))
if cut > 0 then redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-1', cut)) end
local from, is_over = '-', false
for _ = 1, 50 do
  local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 20)
  if is_over or #entries == 0 then break end
  from = '(' .. entries[#entries][1]
  for _, entry in ipairs(entries) do
    local fields = {{}}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    local last = tonumber(string.match(entry[1], '%d+'))
    local size = (about[5] or 0) - (fields.b or about[5] or 0)
    local is_old = fields.x and tonumber(fields.x) <= moment
    if fields.n then
      is_over = not ((last <= least and (is_old or size > tonumber(ARGV[8])))
        or (last <= furthest and size > tonumber(ARGV[9])))
      if is_over then break end
      cut = math.max(cut, last)
    end
  end
end
if cut > 0 then redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-1', cut)) end
local behind = math.max(least, math.min(furthest, head - ARGV[7]))
if behind > known then
  for bucket = math.floor((known + 1) / BUCKET), math.floor((behind + 1) / BUCKET) - 1 do
    redis.call('UNLINK', ARGV[5] .. ARGV[1] .. ':' .. bucket)
  end
  redis.call('HSET', KEYS[1], 'known', string.format('%.0f', behind))
end
redis.call('HSET', KEYS[3], ARGV[2], cjson.encode({{url = ARGV[4], at = at, seen = moment}}))
return {{'ok', head}}
"""

# KEYS servers
SERVERS = _HELPERS + """
local found = redis.call('HGETALL', KEYS[1])
table.insert(found, 1, now())
return found
"""

# KEYS about log controls; ARGV epoch said
CONTROL = _HELPERS + """
local about = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'lost')
if not about[1] or about[3] then return {'lost'} end
if about[1] ~= ARGV[1] then return {'epoch'} end
local said = cjson.decode(ARGV[2])
said.n, said.behind = redis.call('HINCRBY', KEYS[1], 'controls', 1), tonumber(about[2])
local text = cjson.encode(said)
redis.call('XADD', KEYS[2], string.format('%.0f-%.0f', said.behind, said.n), 'c', text, 'e', ARGV[1])
redis.call('RPUSH', KEYS[3], text)
redis.call('LTRIM', KEYS[3], -1000, -1)
return {'done', said.n}
"""

# KEYS about; ARGV epoch
SUSPECT = """
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('HSET', KEYS[1], 'lost', '1') end
return {'done'}
"""

# KEYS about; ARGV epoch new: what a server held is not in this log, so whoever follows it is to begin anew
RENEW = """
local about = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'lost', 'lineage')
if about[1] ~= ARGV[1] or about[3] then return {'epoch'} end
local lineage = cjson.decode(about[4])
lineage[#lineage + 1] = {ARGV[1], tonumber(about[2])}
while #lineage > 50 do table.remove(lineage, 1) end
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'known', about[2], 'lineage', cjson.encode(lineage))
return {'done'}
"""

# KEYS about claims; ARGV server generation head
CLAIM = _HELPERS + """
local about = redis.call('HMGET', KEYS[1], 'epoch', 'lost')
if about[1] and not about[2] then return {'healed'} end
local moment = now()
redis.call('HSETNX', KEYS[2], '', string.format('%.0f', moment))
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. string.format(' %.0f', moment))
redis.call('PEXPIRE', KEYS[2], 10000)
local claims = redis.call('HGETALL', KEYS[2])
local best, least = winner(claims, moment), nil
for i = 1, #claims, 2 do
  local head, seen = string.match(claims[i + 1], '%d+ (%d+) (%d+)')
  if head and moment - seen < CLAIM_MS and (not least or tonumber(head) < least) then least = tonumber(head) end
end
return {'claimed', moment - redis.call('HGET', KEYS[2], ''), best[3], least}
"""

# KEYS about log claims; ARGV server is_first data count last epoch expires: what Redis lost, from who has most of it
FILL = _HELPERS + """
local about = redis.call('HMGET', KEYS[1], 'epoch', 'lost')
if about[1] and not about[2] then return {'healed'} end
local best = winner(redis.call('HGETALL', KEYS[3]), now())
if not best or best[3] ~= ARGV[1] then return {'wait'} end
if ARGV[2] == '1' then redis.call('DEL', KEYS[2]) end
if ARGV[4] ~= '0' then
  redis.call('XADD', KEYS[2], ARGV[5] .. '-0', 'd', ARGV[3], 'n', ARGV[4], 'e', ARGV[6], 't', '', 'x', ARGV[7], 'b', '0')
end
return {'done'}
"""

# KEYS about claims sent controls; ARGV server epoch generation head secret lineage controls control...
SEED = _HELPERS + """
local about = redis.call('HMGET', KEYS[1], 'epoch', 'lost')
if about[1] and not about[2] then return {'healed'} end
local best = winner(redis.call('HGETALL', KEYS[2]), now())
if not best or best[3] ~= ARGV[1] then return {'wait'} end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'generation', ARGV[3], 'head', ARGV[4], 'known', ARGV[4], 'secret', ARGV[5],
  'lineage', ARGV[6], 'controls', ARGV[7], 'bytes', '0')
for i = 8, #ARGV do redis.call('RPUSH', KEYS[4], ARGV[i]) end
return {'done'}
"""
