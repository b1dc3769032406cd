-- Permits whose time ends after a time: {time}. Answers {queue, members} of each queue.

serve = function(given)
  local found = {}
  for _, queue in ipairs(call('SMEMBERS', shard .. 'queues')) do
    found[#found + 1] = {queue, call('ZRANGEBYLEX', shard .. 'permits:' .. queue, '(' .. given[1] .. 'g', '+')}
  end
  return found
end
