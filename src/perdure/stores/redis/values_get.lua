-- Values of some keys: {key, ...}. Answers for each {value, etag, content type or '', milliseconds left or -1}, or {}.

serve = function(given)
  local found = {}
  for number, key in ipairs(given) do
    local at = shard .. 'value:' .. key
    local there = call('HMGET', at, 'value', 'etag', 'type')
    found[number] = there[1] and {there[1], there[2], there[3] or '', call('PTTL', at)} or {}
  end
  return found
end
