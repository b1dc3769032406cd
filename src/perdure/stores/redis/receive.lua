-- uses: instance mailbox
-- What other shards have sent, in their order: {shard id, channel, packed records}. A record with more than four
-- fields is a creation, another is mail. Answers whether refusals wait in the outbox of this shard.

serve = function(given)
  has_refused = false
  for _, packed in ipairs(given[3]) do
    local record = packed[1]
    if #record > 4 then create_or_refuse(record, given[1]) else deliver(record) end
  end
  post()
  if given[2] ~= '' then call('PUBLISH', given[2], '') end
  return has_refused and 1 or 0
end
