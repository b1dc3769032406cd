-- uses: instance
-- Claimed calls live: {seconds, {id, execution, generation, number, token, details or false}, ...}. Answers 1 for each
-- that is still claimed under its token, else 0. For 0 seconds: they are offered again.

local function touch(given, seconds)
  local id, number = given[1], given[4]
  local head, wait = read_head(id), read_wait(id, number)
  if not head or not is_live(head) or head[EXECUTION] ~= given[2] or head[GENERATION] ~= given[3] then return 0 end
  if not wait or wait[STATE] ~= 'claimed' or wait[TOKEN] ~= given[5] then return 0 end
  index_wait(drop, id, number, wait)
  wait[CLAIMED_UNTIL] = hex(now + seconds * 1000000)
  if seconds == 0 then wait[STATE] = 'offered' end  -- because it is let go
  if given[6] then wait[DETAILS] = given[6] end
  call('HSET', shard .. 'w:' .. id, number, pack(wait))
  index_wait(add, id, number, wait)
  return 1
end

serve = function(given)
  local answers = {}
  for number = 2, #given do answers[number - 1] = touch(given[number], given[1]) end
  return answers
end
