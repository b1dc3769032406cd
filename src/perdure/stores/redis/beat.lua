-- The lease holds for longer: {epoch, seconds}. Answers until when, 0 if it is lost, {'back', epoch} if the store is
-- older than it.

serve = function(given)
  local lease = call('HMGET', shard .. 'lease', 'epoch', 'owner')
  local epoch = tonumber(lease[1] or 0)
  if epoch < given[1] then return {'back', epoch} end
  if epoch ~= given[1] or not lease[2] then return 0 end
  local till = string.format('%.0f', now + given[2] * 1000000)
  call('HSET', shard .. 'lease', 'until', till)
  return till
end
