-- What the lease says: {}. Answers {epoch, owner or '', until when or ''}.

serve = function()
  local lease = call('HMGET', shard .. 'lease', 'epoch', 'owner', 'until')
  return {lease[1] or '0', lease[2] or '', lease[3] or ''}
end
