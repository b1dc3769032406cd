-- Moves a message to another stream, once.
-- KEYS: the other stream, the key that remembers it there, the stream that it is in. ARGV: the milliseconds of the
-- window, "MINID" or "MAXLEN" and its threshold, its data, the group, its id.
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XADD', KEYS[1], ARGV[2], '~', ARGV[3], '*', 'data', ARGV[4])
  redis.call('SET', KEYS[2], '', 'PX', ARGV[1])
end
return redis.call('XACK', KEYS[3], ARGV[5], ARGV[6])
