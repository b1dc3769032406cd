-- Adds messages to streams, each unless its source and id were seen within the window.
-- KEYS: for each message its stream and the key that remembers it. ARGV: the milliseconds of the window, "MINID" or
-- "MAXLEN" and its threshold, then the data of each message.
local added = 0
for place = 1, #KEYS, 2 do
  local seen = KEYS[place + 1]
  if redis.call('EXISTS', seen) == 0 then
    local data = ARGV[4 + (place - 1) / 2]
    redis.call('XADD', KEYS[place], ARGV[2], '~', ARGV[3], '*', 'data', data)
    redis.call('SET', seen, '', 'PX', ARGV[1])  -- after the message, because one that is only remembered is lost
    added = added + 1
  end
end
return added
