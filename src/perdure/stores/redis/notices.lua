-- uses: notice
-- Looks at notices and says what became of them: {'page', which set, after, limit}, {'newest'}, {'told', number, ...},
-- {'give_up', number, failure}, {'tell_again'}, {'trim', how many are kept}. A page answers
-- {{number, instance, event, failure}, ...}, the others a number.

local function page(name, after, limit)
  local numbers = call('ZRANGEBYSCORE', shard .. 'notices:' .. name, '(' .. after, '+inf', 'LIMIT', 0, limit)
  local found = {}
  for place, number in ipairs(numbers) do
    local notice = unpack_record(call('HGET', shard .. 'notices', number))
    found[place] = {number, notice[1], notice[2], notice[3]}
  end
  return found
end

local function trim(name, keep)
  local set = shard .. 'notices:' .. name
  for _, number in ipairs(call('ZRANGE', set, 0, -keep - 1)) do
    call('HDEL', shard .. 'notices', number)
    call('ZREM', shard .. 'notices:all', number)
    call('ZREM', set, number)
  end
end

serve = function(given)
  if given[1] == 'page' then return page(given[2], given[3], given[4]) end
  if given[1] == 'newest' then
    local newest = call('ZRANGE', shard .. 'notices:all', -1, -1)
    return newest[1] or '0'
  end
  if given[1] == 'told' then
    for place = 2, #given do move_notice(given[place], 'told', '') end
    return #given - 1
  end
  if given[1] == 'give_up' then
    move_notice(given[2], 'given_up', given[3])
    return 1
  end
  if given[1] == 'tell_again' then
    local numbers = call('ZRANGE', shard .. 'notices:given_up', 0, -1)
    for _, number in ipairs(numbers) do move_notice(number, 'pending', '') end
    return #numbers
  end
  trim('told', given[2])
  trim('given_up', given[2])
  return 0
end
