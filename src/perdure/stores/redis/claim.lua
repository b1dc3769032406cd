-- uses: instance
-- Claim calls: {owner, token, seconds, id, number, ...}. Answers {id, execution, generation, number, wait, ...} of
-- those that nobody else has got.

local function is_claimable(wait)
  if wait[STATE] == 'claimed' then return wait[CLAIMED_UNTIL] ~= '' and wait[CLAIMED_UNTIL] <= hex(now) end
  return wait[STATE] == 'offered' and (wait[DUE] == '' or wait[DUE] <= hex(now))
end

is_guarded = true
serve = function(given)
  local claimed = {}
  for at = 4, #given, 2 do
    local id, number = given[at], given[at + 1]
    local head, wait = read_head(id), read_wait(id, number)
    if head and is_live(head) and not has(head, 'S') and wait and wait[KIND] == 'activity' and is_claimable(wait) then
      index_wait(drop, id, number, wait)
      if wait[STATE] == 'claimed' then wait[LAPSES] = string.format('%d', (tonumber(wait[LAPSES]) or 0) + 1) end
      wait[STATE], wait[CLAIMED_BY], wait[TOKEN] = 'claimed', given[1], given[2]
      wait[CLAIMED_UNTIL] = hex(now + given[3] * 1000000)
      local packed = pack(wait)
      call('HSET', shard .. 'w:' .. id, number, packed)
      index_wait(add, id, number, wait)
      for _, part in ipairs({id, head[EXECUTION], head[GENERATION], number, packed}) do claimed[#claimed + 1] = part end
    end
  end
  return claimed
end
