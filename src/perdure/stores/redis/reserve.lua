-- Keep the shard for a move, or read or end that: {what is there as its caller knows it, what shall be there, whether
-- the epoch rises}; '' is nothing, and false for the second only reads. Answers {what is there now, owner or ''}.
-- Nothing changes if something else is there, or if somebody owns the shard and there was nothing.

serve = function(given)
  local there = call('GET', shard .. 'kept') or ''
  if given[2] == false then return {there, ''} end
  local lease = call('HMGET', shard .. 'lease', 'owner', 'until')
  if given[2] ~= '' and lease[1] and tonumber(lease[2]) > now then return {there, lease[1]} end
  if there ~= given[1] then return {there, ''} end
  if given[2] == '' then
    call('DEL', shard .. 'kept')
  else
    call('SET', shard .. 'kept', given[2])
    call('HDEL', shard .. 'lease', 'owner', 'until')
    if given[3] then call('HINCRBY', shard .. 'lease', 'epoch', 1) end
  end
  return {given[2], ''}
end
