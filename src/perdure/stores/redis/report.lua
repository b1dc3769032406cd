-- uses: instance mailbox
-- Ends of attempts that ran elsewhere: {channel, {number, attempt or false, token or false, execution, generation,
-- mail}, ...}. Answers what became of each.

local IN_FLIGHT = {held = true, admitted = true}

local function report(told)
  local number, mail = told[1], told[6]
  local id = mail[1]
  local head = read_head(id)
  if not head or not is_live(head) then return 'conflict' end
  if head[EXECUTION] ~= told[4] or head[GENERATION] ~= told[5] then return 'conflict' end
  local wait = read_wait(id, number)
  if not wait or wait[KIND] ~= 'activity' or (told[2] and wait[ATTEMPT] ~= told[2]) then return 'conflict' end
  if told[3] then
    if wait[STATE] ~= 'claimed' or wait[TOKEN] ~= told[3] then return 'conflict' end
  elseif not IN_FLIGHT[wait[STATE]] then
    return 'conflict'
  end
  index_wait(drop, id, number, wait)
  wait[STATE] = 'answered'
  call('HSET', shard .. 'w:' .. id, number, pack(wait))
  index_wait(add, id, number, wait)
  deliver(mail)
  return 'committed'
end

is_guarded = true
serve = function(given)
  local answers = {}
  for number = 2, #given do answers[number - 1] = report(given[number]) end
  if given[1] ~= '' and #given > 1 then call('PUBLISH', given[1], '') end
  return answers
end
