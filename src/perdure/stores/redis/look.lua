-- What people ask about one instance: {id, which, ...}.

local looks = {}
looks.waits = function(id) return call('HGETALL', shard .. 'w:' .. id) end

looks.published = function(id, names)
  local answers = {}
  for number, name in ipairs(names) do
    answers[number] = call('HGET', shard .. 'a:' .. id, name) or call('HGET', shard .. 'p:' .. id, name)
  end
  return answers
end

looks.streams = function(id)
  local found, fields = {}, call('HGETALL', shard .. 'y:' .. id)
  for at = 1, #fields, 2 do
    found[#found + 1] = {fields[at], fields[at + 1], call('LLEN', shard .. 'i:' .. fields[at] .. ':' .. id)}
  end
  return {call('HGET', shard .. 'heads', id), found, call('HKEYS', shard .. 'w:' .. id)}
end

looks.items = function(id, stream, first, last)
  local items = shard .. 'i:' .. stream .. ':' .. id
  return {call('LLEN', items), call('LRANGE', items, first, last)}
end

serve = function(given) return looks[given[2]](given[1], given[3], given[4], given[5]) end
