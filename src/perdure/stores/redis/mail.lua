-- Mail to unfinished instances: {after instance, how many messages at most}, counted over all shards of the call.
-- Answers {whether there is more, first number in the outbox or '', id, fields, ...}. It ends between two instances.

local IDS = 100
local left = false

serve = function(given)
  left = left or given[2]
  local answer = {0, ''}
  local waiting = call('SRANDMEMBER', shard .. 'out')
  if waiting then
    local oldest = call('ZRANGE', shard .. 'out:' .. waiting, 0, 0)[1]
    answer[2] = oldest and waiting .. ':' .. string.sub(oldest, 1, 16) or ''
  end
  local from = given[1] == '' and '-' or '(' .. given[1]
  while true do
    local ids = call('ZRANGEBYLEX', shard .. 'mail', from, '+', 'LIMIT', 0, IDS)
    if #ids == 0 then return answer end
    for _, id in ipairs(ids) do
      if left <= 0 then
        answer[1] = 1
        return answer
      end
      local fields = call('HGETALL', shard .. 'm:' .. id)
      left = left - #fields / 2
      answer[#answer + 1] = id
      answer[#answer + 1] = fields
    end
    from = '(' .. ids[#ids]
  end
end
