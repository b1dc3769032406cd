-- Instances as of one moment: {id, ...}. Answers {head, facts, segments, mail, waits, seen} of each, or nothing.

serve = function(given)
  local answers = {}
  for number, id in ipairs(given) do
    local head = call('HGET', shard .. 'heads', id)
    answers[number] = head and {
      head,
      call('HGET', shard .. 'facts', id),
      call('LRANGE', shard .. 'l:' .. id, 0, -1),
      call('HGETALL', shard .. 'm:' .. id),
      call('HGETALL', shard .. 'w:' .. id),
      call('ZREVRANGE', shard .. 's:' .. id, 0, -1),
    } or {}
  end
  return answers
end
