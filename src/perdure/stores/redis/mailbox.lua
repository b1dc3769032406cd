-- Mail and creations: what needs no lease, or arrives with the turns of one.
--
-- Mail is {id, key, is a reply, record}; a record begins with the time at which it was sent. What is for another shard
-- waits in the sender's outbox:
--
--   out         set        shards that something waits for
--   out:SHARD   sorted     number .. packed, in the order in which it was sent

-- The next number of arrival; numbers are taken with one command, and those that are not used are left out.
local next_arrival, last_arrival
local ARRIVALS = 64
local function arrive()
  if not next_arrival or next_arrival > last_arrival then
    last_arrival = call('HINCRBY', shard .. 'lease', 'arrivals', ARRIVALS)
    next_arrival = last_arrival - ARRIVALS + 1
  end
  next_arrival = next_arrival + 1
  return next_arrival - 1
end
local function arrived() return hex(arrive()) end

local write_indexes = finish
finish = function()
  next_arrival = nil
  write_indexes()
end

local function deliver(mail)
  local id, key, box = mail[1], mail[2], shard .. 'm:' .. mail[1]
  local head = read_head(id)
  if not head then return 'no-instance' end
  if call('ZSCORE', shard .. 's:' .. id, key) then return 'duplicate' end
  if not is_live(head) then return call('HEXISTS', box, key) == 1 and 'duplicate' or 'finished' end
  if not mail[3] and call('HLEN', box) >= MAILBOX_MESSAGES_MAX then
    return call('HEXISTS', box, key) == 1 and 'duplicate' or 'full'
  end
  if call('HSETNX', box, key, arrived() .. mail[4]) == 0 then return 'duplicate' end
  add('mail', id)
  return 'delivered'
end

local has_refused  -- whether something went to the outbox that the caller does not know of

local letters = {}
local function send(receiver, packed) letters[#letters + 1] = {receiver, packed} end

-- Put what is to be sent into the outbox. The number of the first, or nothing.
local function post()
  if #letters == 0 then return nil end
  local first = call('HINCRBY', shard .. 'lease', 'sent', #letters) - #letters + 1
  local receivers, known = {}, {}
  for place, letter in ipairs(letters) do
    if not known[letter[1]] then receivers[#receivers + 1] = letter[1] end
    known[letter[1]] = true
    add('out:' .. letter[1], hex(first + place - 1) .. letter[2])
  end
  in_parts('SADD', shard .. 'out', receivers)
  letters = {}
  return hex(first)
end

-- A creation is {id, {head, facts}, waits, parent's call, mail, unique, joins, home of its refusal, refusal, claim}.
local ID, START, WAITS, CALL, MAIL, UNIQUE, JOINS, REFUSAL_HOME, REFUSAL, CLAIM = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

-- False if the id is taken.
local function create(creation)
  local id, head, found = creation[ID], creation[START][1], creation[START][2]
  local before = read_head(id)
  if before then
    if before[EXECUTION] == head[EXECUTION] then return true end
    if creation[CALL] ~= '' and read_facts(id)[PARENT_CALL] == creation[CALL] then return true end
    if creation[UNIQUE] or is_live(before) then return false end
    erase(id, before)
  end
  found[PARENT_CALL], found[NAMES] = creation[CALL], {}
  write_head(id, head)
  write_facts(id, found)
  for _, wait in ipairs(creation[WAITS]) do
    call('HSET', shard .. 'w:' .. id, wait[1], pack(wait[2]))
    if is_live(head) then index_wait(add, id, wait[1], wait[2]) end
  end
  local mail = creation[MAIL]
  call('HSET', shard .. 'm:' .. id, mail[2], arrived() .. mail[4])
  index_head(id, {}, found[ENTRIES])
  index_instance(id, head)
  return true
end

-- A creation that a commit asks for, in this shard, which is `here`.
local function create_or_refuse(creation, here)
  if creation[JOINS] then
    local delivery = deliver(creation[MAIL])
    if delivery ~= 'no-instance' and delivery ~= 'finished' then return end
  end
  if create(creation) or creation[REFUSAL_HOME] == 0 then return end
  if creation[REFUSAL_HOME] == here then
    deliver(creation[REFUSAL])
  else
    send(creation[REFUSAL_HOME], pack({creation[REFUSAL]}))
    has_refused = true
  end
end
