-- uses: instance
-- Everything of instances: {id, ...}. Answers {head, facts, segments, mail, waits, seen oldest first, published,
-- names of answers oldest first, answers, streams, items of each, until when each claim, ...} of each, or nothing.

serve = function(given)
  local answers = {}
  for number, id in ipairs(given) do
    local head, found = call('HGET', shard .. 'heads', id), read_facts(id)
    local items, claims = {}, {}
    local streams, names = call('HGETALL', shard .. 'y:' .. id), call('ZRANGE', shard .. 'o:' .. id, 0, -1)
    for at = 1, #streams, 2 do
      items[#items + 1] = call('LRANGE', shard .. 'i:' .. streams[at] .. ':' .. id, 0, -1)
    end
    for _, name in ipairs(found and found[NAMES] or {}) do
      local held = call('HGET', shard .. 'names', name)
      local holder = held and unpack_record(held)
      if holder and holder[1] == id then
        claims[#claims + 1] = name
        claims[#claims + 1] = holder[2]
      end
    end
    local shown = {}
    for place, name in ipairs(names) do shown[place] = call('HGET', shard .. 'a:' .. id, name) end
    answers[number] = head and {
      head,
      call('HGET', shard .. 'facts', id),
      call('LRANGE', shard .. 'l:' .. id, 0, -1),
      call('HGETALL', shard .. 'm:' .. id),
      call('HGETALL', shard .. 'w:' .. id),
      call('ZRANGE', shard .. 's:' .. id, 0, -1),
      call('HGETALL', shard .. 'p:' .. id),
      names,
      shown,
      streams,
      items,
      claims,
    } or {}
  end
  return answers
end
