-- Segments after a sequence: {id, sequence, how many at most}. The list has them by sequence, so it is searched by
-- halves. With -1 for the sequence: the last one.

serve = function(given)
  local log, after = shard .. 'l:' .. given[1], given[2]
  if after == -1 then return call('LRANGE', log, -1, -1) end
  local bound = hex(after)
  local low, high = 0, call('LLEN', log)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if string.sub(call('LINDEX', log, middle), 1, 16) <= bound then low = middle + 1 else high = middle end
  end
  return call('LRANGE', log, low, low + given[3] - 1)
end
