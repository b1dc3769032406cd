-- uses: instance
-- What has become of runs: {id, execution or '', ...}. Answers for each {} if it goes on, {false} if there is no such
-- instance, or {head, facts}, and behind them the first and the last segment if it is finished.

local function ending(id, execution)
  local head = read_head(id)
  if not head then return {false} end
  local is_finished = has(head, 'F')
  if not is_finished and (execution == '' or execution == head[EXECUTION]) then return {} end
  local found = {call('HGET', shard .. 'heads', id), call('HGET', shard .. 'facts', id)}
  if is_finished then
    found[3] = call('LINDEX', shard .. 'l:' .. id, 0)
    found[4] = call('LINDEX', shard .. 'l:' .. id, -1)
  end
  return found
end

serve = function(given)
  local answers, ids = {}, {}
  for at = 1, #given, 2 do ids[#ids + 1] = given[at] end
  read_all(heads, ids)
  for at = 1, #given, 2 do answers[#answers + 1] = ending(given[at], given[at + 1]) end
  heads.read = {}
  return answers
end
