-- The directory of apps: {app, shards that it gets if it is new, whether to make it}, or {} for all names.
-- Answers 'NUMBER:SHARDS' or '' for one that is not there.

serve = function(given)
  if not given[1] then return call('HKEYS', shard .. 'apps') end
  local known = call('HGET', shard .. 'apps', given[1])
  if known or not given[3] then return known or '' end
  local made = call('INCR', shard .. 'number') .. ':' .. given[2]
  call('HSET', shard .. 'apps', given[1], made)
  return made
end
