-- Notices of a shard, which are told outside:
--
--   notice             string    number of the newest one ever
--   notices            hash      number -> instance, event, failure or ''
--   notices:all, :pending, :told, :given_up    sorted    numbers; of the last three each notice is in one

local function post_notice(instance, event)
  local number = call('INCR', shard .. 'notice')
  call('HSET', shard .. 'notices', number, pack({instance, event, ''}))
  call('ZADD', shard .. 'notices:all', number, number)
  call('ZADD', shard .. 'notices:pending', number, number)
end

local function move_notice(number, to, failure)
  local packed = call('HGET', shard .. 'notices', number)
  if not packed then return end
  local notice = unpack_record(packed)
  notice[3] = failure
  call('HSET', shard .. 'notices', number, pack(notice))
  for _, name in ipairs({'pending', 'told', 'given_up'}) do call('ZREM', shard .. 'notices:' .. name, number) end
  call('ZADD', shard .. 'notices:' .. to, number, number)
end
