-- Heads of instances: {id, ...}. Answers {heads, facts}, packed or nothing, in the same order.

serve = function(given)
  return {call('HMGET', shard .. 'heads', unpack(given)), call('HMGET', shard .. 'facts', unpack(given))}
end
